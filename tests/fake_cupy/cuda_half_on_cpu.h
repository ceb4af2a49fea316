// Numbers of 16 bits on the CPU: the functions of minigrad/cuda/half_types.cu. It comes before the other two headers.
#include <cmath>
#include <cstring>
using namespace std;

#define ON_CPU

static unsigned bits_of(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static float float_of(unsigned u) { float x; memcpy(&x, &u, 4); return x; }

#ifdef FLOAT16
static float unpack(unsigned short x)
{
    int sign = x >> 15 ? -1 : 1, exponent = x >> 10 & 31, fraction = x & 1023;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24));
}
static unsigned short round_to_half(float x)
{
    unsigned sign = bits_of(x) >> 16 & 0x8000;
    if (x != x) return sign | 0x7e00;
    float a = fabsf(x);
    if (a >= 65520) return sign | 0x7c00;
    int exponent = a < 6.103515625e-05f ? -14 : ilogbf(a);  // of the smallest normal number and below: 2^-14
    int n = (int)nearbyintf(ldexpf(a, 10 - exponent));      // ties to even
    return sign | (exponent == -14 ? n : ((exponent + 14) << 10) + n);
}
#else
static float unpack(unsigned short x) { return float_of((unsigned)x << 16); }
static unsigned short round_to_half(float x) { return (bits_of(x) + 0x7fff + (bits_of(x) >> 16 & 1)) >> 16; }
#endif

static unsigned pack(float low, float high) { return round_to_half(low) | (unsigned)round_to_half(high) << 16; }

