// Numbers of 16 bits: float16 with the option FLOAT16, else bfloat16. The stand-in for CuPy has the same two functions for
// the CPU, and defines ON_CPU.

typedef unsigned short half16;  // the bits of a float16 or a bfloat16

#ifndef ON_CPU
#ifdef FLOAT16
#define PTX_HALF "f16"
#else
#define PTX_HALF "bf16"
#endif

// two floats as two numbers of 16 bits, rounded to the nearest
__device__ __forceinline__ unsigned pack(float low, float high)
{
    unsigned both;
    asm("cvt.rn." PTX_HALF "x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float unpack(half16 x)
{
#ifdef FLOAT16
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x));
    return f;
#else
    return __uint_as_float((unsigned)x << 16);
#endif
}
#endif
