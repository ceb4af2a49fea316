// A block of many threads on the CPU, for kernels whose threads work together: each thread is a fiber, which runs until
// it meets a barrier and goes on when all have come. Blocks run one after the other. See kernels.py.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>
using namespace std;

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

struct Numbers { unsigned x = 1, y = 1, z = 1; };
struct uint4 { unsigned x, y, z, w; };
static Numbers threadIdx, blockIdx, blockDim, gridDim;

struct Fiber { ucontext_t context; vector<char> stack = vector<char>(1 << 17); bool done; };
static vector<Fiber> fibers;
static ucontext_t scheduler;
static function<void()> kernel;
static unsigned current;

static void pause_fiber() { swapcontext(&fibers[current].context, &scheduler); }
static void run_fiber() { kernel(), fibers[current].done = true, pause_fiber(); }

struct Barrier {
    unsigned waiting = 0, round = 0;
    void wait(unsigned size)
    {
        unsigned mine = round;
        if (++waiting == size) waiting = 0, round++;
        else while (mine == round) pause_fiber();
    }
};
static Barrier of_block, of_warp[32];

static void __syncthreads() { of_block.wait(blockDim.x); }
static void sync_warp() { of_warp[current / 32].wait(blockDim.x < 32 ? blockDim.x : 32); }

// what each lane of a warp gives to the others
struct Exchange { unsigned char bytes[32][64]; };
static Exchange exchange[32];

template <class T> static void give(const T& x) { memcpy(exchange[current / 32].bytes[current % 32], &x, sizeof x), sync_warp(); }
template <class T> static T taken_from(unsigned lane) { T x; memcpy(&x, exchange[current / 32].bytes[lane], sizeof x); return x; }

template <class T> static T __shfl_xor_sync(unsigned, T x, int step)
{
    give(x);
    T result = taken_from<T>(current % 32 ^ step);
    return sync_warp(), result;
}

extern "C" void set_launch(unsigned x, unsigned y, unsigned z, unsigned threads)
{
    gridDim = {x, y, z}, blockDim = {threads, 1, 1};
}

static void on_threads(function<void()> work)
{
    kernel = work, fibers.resize(blockDim.x);
    for (unsigned block = 0; block < gridDim.x * gridDim.y * gridDim.z; block++) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        for (Fiber& fiber : fibers) {
            getcontext(&fiber.context), fiber.done = false;
            fiber.context.uc_stack.ss_sp = fiber.stack.data(), fiber.context.uc_stack.ss_size = fiber.stack.size();
            makecontext(&fiber.context, run_fiber, 0);
        }
        for (bool busy = true; busy;) {
            busy = false;
            for (current = 0; current < blockDim.x; current++)
                if (!fibers[current].done)
                    threadIdx = {current, 0, 0}, swapcontext(&scheduler, &fibers[current].context), busy = true;
        }
    }
}

// --- tensor cores: the functions of minigrad/cuda/tensor_cores.cu -------------------------------------------------

struct Operands { unsigned a[4], b[2]; };

static float half_of(unsigned both, int high) { return unpack(high ? both >> 16 : both & 0xffff); }

static void multiply_add(float c[4], const unsigned a[4], unsigned b0, unsigned b1)
{
    give(Operands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    int lane = current % 32;
    for (int e = 0; e < 4; e++) {
        int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        for (int k = 0; k < 16; k++) {
            unsigned left = taken_from<Operands>(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2];
            unsigned right = taken_from<Operands>(column * 4 + k % 8 / 2).b[k / 8];
            c[e] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
    sync_warp();
}

static void load_transposed(unsigned b[4], const unsigned short* row)
{
    give(row);
    int lane = current % 32;
    for (int i = 0; i < 4; i++) {  // matrix i of 8 rows, whose beginnings lanes 8 i to 8 i + 7 have named
        unsigned short both[2];
        for (int e = 0; e < 2; e++) both[e] = taken_from<const unsigned short*>(8 * i + lane % 4 * 2 + e)[lane / 4];
        b[i] = both[0] | (unsigned)both[1] << 16;
    }
    sync_warp();
}
