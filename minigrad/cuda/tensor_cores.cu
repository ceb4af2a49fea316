// What flash.cu asks of tensor cores, in PTX; half_types.cu comes before this file. The stand-in for CuPy has the same
// functions for the CPU, and defines ON_CPU.
//
// A product of tensor cores is done by the 32 lanes of a warp together: c (16, 8) += a (16, 16) b (16, 8). With g = lane / 4
// and t = 2 (lane % 4), a lane holds these numbers, two neighbours of 16 bits in one `unsigned` (PTX ISA, mma.m16n8k16):
//
//     a[0] row g, columns t and t + 1     a[1] row g + 8     a[2] row g, columns t + 8, t + 9     a[3] row g + 8, the same
//     b[0] rows t and t + 1, column g     b[1] rows t + 8 and t + 9
//     c[0], c[1] row g, columns t and t + 1     c[2], c[3] row g + 8

typedef long long int64;

#ifndef ON_CPU
__device__ __forceinline__ void multiply_add(float c[4], const unsigned a[4], unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." PTX_HALF "." PTX_HALF ".f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// b[0] and b[1] of two neighbouring products from a matrix (16, 16) in shared memory; lane i names the beginning of row
// i % 16, of its left half if i < 16, else of the right half
__device__ __forceinline__ void load_transposed(unsigned b[4], const half16* row)
{
    unsigned address = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address));
}
#endif
