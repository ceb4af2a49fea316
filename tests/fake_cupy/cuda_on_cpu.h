// What CUDA C++ adds to C++, for blocks of one thread that run one after the other; see kernels.py.
#include <cmath>
using namespace std;

#define __global__
#define __device__
#define __shared__ static

struct Numbers { unsigned x = 0, y = 0, z = 0; };
static Numbers threadIdx, blockIdx, blockDim{1, 1, 1}, gridDim{1, 1, 1};

static inline void __syncthreads() {}
template <class T> static T __shfl_xor_sync(unsigned, T x, int) { return x; }      // no other thread

extern "C" void set_block(unsigned block, unsigned blocks) { blockIdx.x = block, gridDim.x = blocks; }

