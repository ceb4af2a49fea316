// Kernels of float32 or float64: `real`, with LOWEST its least number; both come with the compiler's options (compiler.py).
// What they compute is said where they are called, in rows.py and elements.py; their plain twins are the fused functions on arrays.
//
// A block of threads works on a row, striding through it, or strides together with all other blocks through all elements. Any number
// of threads does, a power of two; a single one too, which is how the tests run these kernels without a GPU (tests/fake_cupy).

typedef long long int64;                                        // arrays may have more than 2^31 elements

template <class Combine> __device__ real across_block(real x, Combine combine)
{
    __shared__ real of_warp[32];
    for (int step = (blockDim.x < 32 ? blockDim.x : 32) / 2; step; step /= 2)
        x = combine(x, __shfl_xor_sync(~0u, x, step));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warp[0];
    for (int warp = 1; warp < (blockDim.x + 31) / 32; warp++) x = combine(x, of_warp[warp]);
    __syncthreads();                                            // all have read before the next call writes
    return x;
}

__device__ real block_sum(real x) { return across_block(x, [](real a, real b) { return a + b; }); }
__device__ real block_max(real x) { return across_block(x, [](real a, real b) { return a > b ? a : b; }); }

// --- norm -----------------------------------------------------------------------------------------------------------------------------

// without `means` (null) that is RMSNorm, without `bias` nothing is added
extern "C" __global__ void norm_forward(const real* x, const real* weight, const real* bias, real* y, real* means, real* rs, int C,
                                        real eps)
{
    x += (int64)blockIdx.x * C, y += (int64)blockIdx.x * C;
    real sum = 0, squares = 0, mean = 0;
    if (means) {
        for (int i = threadIdx.x; i < C; i += blockDim.x) sum += x[i];
        mean = block_sum(sum) / C;
    }
    for (int i = threadIdx.x; i < C; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    real r = 1 / sqrt(block_sum(squares) / C + eps);
    for (int i = threadIdx.x; i < C; i += blockDim.x) y[i] = (x[i] - mean) * r * weight[i] + (bias ? bias[i] : 0);
    if (threadIdx.x == 0) {
        if (means) means[blockIdx.x] = mean;
        rs[blockIdx.x] = r;
    }
}

// `part` (N, C), whose sum over the rows is the gradient of weight, is written beside dx
extern "C" __global__ void norm_backward(const real* dy, const real* x, const real* weight, const real* means, const real* rs, real* dx,
                                         real* part, int C)
{
    int64 row = (int64)blockIdx.x * C;
    x += row, dy += row, dx += row, part += row;
    real mean = means ? means[blockIdx.x] : 0, r = rs[blockIdx.x], along = 0, sum = 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        real dh = dy[i] * weight[i];
        along += dh * (x[i] - mean) * r, sum += dh;
    }
    along = block_sum(along) / C;
    sum = means ? block_sum(sum) / C : 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        real h = (x[i] - mean) * r;
        dx[i] = r * (dy[i] * weight[i] - sum - h * along);
        part[i] = dy[i] * h;
    }
}

// --- softmax --------------------------------------------------------------------------------------------------------------------------

struct Span { int begin, end; };                                // of the keys that a query sees

// row n belongs to query n % queries, which stands at key `place` + that; a window of 0 is none
__device__ Span seen(int queries, int place, int causal, int window, int keys)
{
    int here = place + int(blockIdx.x % queries);
    int begin = window && here >= window ? here - window + 1 : 0, end = causal ? here + 1 : window ? here + window : keys;
    return {begin, end < keys ? end : keys};
}

extern "C" __global__ void exponentials(real* scores, real* tops, real* totals, int keys, int queries, int place, int causal, int window)
{
    Span span = seen(queries, place, causal, window, keys);
    scores += (int64)blockIdx.x * keys;
    real top = LOWEST, total = 0;
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        if (span.begin <= j && j < span.end && scores[j] > top) top = scores[j];
    top = block_max(top);
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        total += scores[j] = span.begin <= j && j < span.end ? exp(scores[j] - top) : 0;
    total = block_sum(total);
    if (threadIdx.x == 0) tops[blockIdx.x] = top, totals[blockIdx.x] = total == 0 ? 1 : total;
}

extern "C" __global__ void weights(real* scores, const real* lse, int keys, int queries, int place, int causal, int window)
{
    Span span = seen(queries, place, causal, window, keys);
    scores += (int64)blockIdx.x * keys;
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        scores[j] = span.begin <= j && j < span.end ? exp(scores[j] - lse[blockIdx.x]) : 0;
}

// `worth` of each row, or null: then z stays as it is
extern "C" __global__ void softmax_loss(real* z, const int64* targets, const real* worth, real* losses, int V, real smoothing, real z_loss)
{
    z += (int64)blockIdx.x * V;
    int target = (targets[blockIdx.x] % V + V) % V;             // wraps around, as CuPy's indices do
    real top = LOWEST, total = 0, sum = 0, picked = z[target];
    for (int i = threadIdx.x; i < V; i += blockDim.x) {
        if (z[i] > top) top = z[i];
        sum += z[i];
    }
    top = block_max(top);
    for (int i = threadIdx.x; i < V; i += blockDim.x) total += exp(z[i] - top);
    total = block_sum(total);
    real lse = log(total) + top, rest = smoothing ? smoothing * block_sum(sum) / V : 0;
    if (worth) {
        real w = worth[blockIdx.x], factor = w * (1 + 2 * z_loss * lse) / total, share = smoothing / V * w;
        for (int i = threadIdx.x; i < V; i += blockDim.x)
            z[i] = exp(z[i] - top) * factor - share - (i == target ? (1 - smoothing) * w : 0);
    }
    if (threadIdx.x == 0) losses[blockIdx.x] = lse - (1 - smoothing) * picked - rest + z_loss * lse * lse;
}

// --- element by element ---------------------------------------------------------------------------------------------------------------

#define FOR_EACH(i, n) for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64)gridDim.x * blockDim.x)

// y = x h, and d = dy/dx where x was, or somewhere else
#define ACTIVATION(name, GATE, SLOPE)                                                            \
    extern "C" __global__ void name(const real* xs, real* ys, real* slopes, int64 n)             \
    {                                                                                            \
        FOR_EACH(i, n) {                                                                         \
            real x = xs[i], h = GATE, y = x * h;                                                 \
            ys[i] = y, slopes[i] = SLOPE;                                                        \
        }                                                                                        \
    }

__device__ real inner(real x) { return real(0.7978845608028654) * x * (1 + real(0.044715) * x * x); }         // sqrt(2 / pi)
__device__ real twice_inner_slope(real x) { return real(0.7978845608028654) * (2 + real(6 * 0.044715) * x * x); }

ACTIVATION(silu, 1 / (1 + exp(-x)), h + y * (1 - h))
ACTIVATION(gelu, erfc(-x * real(0.7071067811865476)) / 2, h + x * exp(-x * x / 2) * real(0.3989422804014327))   // 1 / sqrt(2 pi)
ACTIVATION(gelu_tanh, (1 + tanh(inner(x))) / 2, h + y * (1 - h) * twice_inner_slope(x))
ACTIVATION(relu_squared, x > 0 ? x : 0, 2 * h)

// rows of n pairs, neighbours or half a row apart, turned by the angles in row `row % turns`
extern "C" __global__ void rope(const real* x, const real* cosines, const real* sines, real* y, int64 pairs, int n, int turns,
                                int interleaved)
{
    FOR_EACH(i, pairs) {
        int64 row = i / n, j = i % n, first = 2 * n * row + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : n);
        real a = x[first], b = x[second], c = cosines[row % turns * n + j], s = sines[row % turns * n + j];
        y[first] = a * c - b * s, y[second] = a * s + b * c;
    }
}

// rest1 = 1 - beta1 and so on: differences of numbers near 1, taken in float64
extern "C" __global__ void adamw(real* ps, const real* gs, real* ms, real* vs, int64 n, real beta1, real rest1, real beta2, real rest2,
                                 real eps, real rate, real keep)
{
    FOR_EACH(i, n) {
        real g = gs[i], m = beta1 * ms[i] + rest1 * g, v = beta2 * vs[i] + rest2 * g * g;
        ms[i] = m, vs[i] = v;
        ps[i] = keep * ps[i] - rate * m / (sqrt(v) + eps);
    }
}
