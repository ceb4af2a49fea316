// Kernels of float32, float64 or a half type. `stored` is the type of the arrays, and `real` that of the arithmetic, with
// LOWEST as its most negative number: the same type, but float for a half type. `real`, LOWEST and HALF are options of the
// compiler (compiler.py). For half types, half_types.cu comes before this file. The functions in rows.py and elements.py
// launch the kernels and say what they compute.
//
// A block of threads works on one row and strides through it, or all blocks together stride through all elements.
// The number of threads of a block is a power of two. One is enough, too: that is how the tests run these kernels
// without a GPU (tests/fake_cupy).

typedef long long int64;  // arrays may have more than 2^31 elements

#ifdef HALF
struct stored {
    half16 bits;
    __device__ operator real() const { return unpack(bits); }
    __device__ void operator=(real x) { bits = pack(x, 0); }  // rounds
};
#else
typedef real stored;
#endif

// combine x of all threads of the block; every thread gets the result
template <class T, class Combine> __device__ T across_block(T x, Combine combine)
{
    __shared__ T of_warp[32];
    // first within each warp of 32 threads, by a butterfly of exchanges between registers
    for (int step = (blockDim.x < 32 ? blockDim.x : 32) / 2; step; step /= 2)
        x = combine(x, __shfl_xor_sync(~0u, x, step));
    // then the warps, through shared memory
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warp[0];
    for (int warp = 1; warp < (blockDim.x + 31) / 32; warp++) x = combine(x, of_warp[warp]);
    __syncthreads();  // all threads have read before the next call writes
    return x;
}

template <class T> __device__ T block_sum(T x) { return across_block(x, [](T a, T b) { return a + b; }); }
__device__ real block_max(real x) { return across_block(x, [](real a, real b) { return a > b ? a : b; }); }

// --- norm --------------------------------------------------------------------------------------------------------

// null for `means`: RMSNorm; null for `bias`: nothing is added
extern "C" __global__ void norm_forward(const stored* x, const stored* weight, const stored* bias, stored* y,
                                        real* means, real* rs, int C, real eps)
{
    x += (int64)blockIdx.x * C, y += (int64)blockIdx.x * C;
    real sum = 0, squares = 0, mean = 0;
    if (means) {
        for (int i = threadIdx.x; i < C; i += blockDim.x) sum += x[i];
        mean = block_sum(sum) / C;
    }
    for (int i = threadIdx.x; i < C; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    real r = 1 / sqrt(block_sum(squares) / C + eps);
    for (int i = threadIdx.x; i < C; i += blockDim.x) y[i] = (x[i] - mean) * r * weight[i] + (bias ? real(bias[i]) : 0);
    if (threadIdx.x == 0) {
        if (means) means[blockIdx.x] = mean;
        rs[blockIdx.x] = r;
    }
}

// dx = r (dh - mean(dh) - xhat mean(dh xhat)) with dh = dy weight and xhat = (x - mean) r
extern "C" __global__ void norm_backward(const stored* x, const stored* dy, const stored* weight, const real* means,
                                         const real* rs, stored* dx, stored* dy_xhat, int C)
{
    int64 row = (int64)blockIdx.x * C;
    x += row, dy += row, dx += row, dy_xhat += row;
    // the two means begin as sums of this thread
    real mean = means ? means[blockIdx.x] : 0, r = rs[blockIdx.x], mean_dh_xhat = 0, mean_dh = 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        real dh = dy[i] * weight[i];
        mean_dh_xhat += dh * (x[i] - mean) * r, mean_dh += dh;
    }
    mean_dh_xhat = block_sum(mean_dh_xhat) / C;
    mean_dh = means ? block_sum(mean_dh) / C : 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        real xhat = (x[i] - mean) * r;
        dx[i] = r * (dy[i] * weight[i] - mean_dh - xhat * mean_dh_xhat);
        dy_xhat[i] = dy[i] * xhat;
    }
}

// --- softmax -----------------------------------------------------------------------------------------------------

struct Range { int begin, end; };

// The keys that are visible to the query of this block's row: row n belongs to query i = n % queries, which is at the
// position of key i + offset. A window of 0 means that there is none.
__device__ Range visible_keys(int queries, int offset, int causal, int window, int keys)
{
    int position = offset + int(blockIdx.x % queries);
    int begin = window && position >= window ? position - window + 1 : 0;
    int end = causal ? position + 1 : window ? position + window : keys;
    return {begin, end < keys ? end : keys};
}

// scores become exp(score - maximum of the row), and 0 where a key is hidden; total is their sum
extern "C" __global__ void softmax_numerators(real* scores, real* maxima, real* totals, int keys, int queries,
                                              int offset, int causal, int window)
{
    Range visible = visible_keys(queries, offset, causal, window, keys);
    scores += (int64)blockIdx.x * keys;
    real maximum = LOWEST, total = 0;
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        if (visible.begin <= j && j < visible.end && scores[j] > maximum) maximum = scores[j];
    maximum = block_max(maximum);
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        total += scores[j] = visible.begin <= j && j < visible.end ? exp(scores[j] - maximum) : 0;
    total = block_sum(total);
    // a total of 0: all keys are hidden, and dividing by 1 leaves zeros
    if (threadIdx.x == 0) maxima[blockIdx.x] = maximum, totals[blockIdx.x] = total == 0 ? 1 : total;
}

// scores become the weights exp(score - lse), and 0 where a key is hidden; `lse` has a number for each row
extern "C" __global__ void softmax_from_lse(real* scores, const real* lse, int keys, int queries, int offset,
                                            int causal, int window)
{
    Range visible = visible_keys(queries, offset, causal, window, keys);
    scores += (int64)blockIdx.x * keys;
    for (int j = threadIdx.x; j < keys; j += blockDim.x)
        scores[j] = visible.begin <= j && j < visible.end ? exp(scores[j] - lse[blockIdx.x]) : 0;
}

// the loss of each row, by the formulas in fused/cross_entropy.py; the gradients replace z, unless `row_weights` is null
extern "C" __global__ void softmax_loss(stored* z, const int64* targets, const real* row_weights, real* losses, int V,
                                        real smoothing, real z_loss)
{
    z += (int64)blockIdx.x * V;
    int target = (targets[blockIdx.x] % V + V) % V;  // wraps around, as indices do in CuPy
    real maximum = LOWEST, total = 0, sum = 0, z_target = z[target];
    for (int i = threadIdx.x; i < V; i += blockDim.x)
        if (z[i] > maximum) maximum = z[i];
    maximum = block_max(maximum);
    // the sum, too, is one of z - maximum: beside a large maximum, the loss would lose digits
    for (int i = threadIdx.x; i < V; i += blockDim.x) total += exp(z[i] - maximum), sum += z[i] - maximum;
    total = block_sum(total);
    real lse = log(total) + maximum, smoothed = smoothing ? smoothing * block_sum(sum) / V : 0;
    real loss = log(total) - (1 - smoothing) * (z_target - maximum) - smoothed + (z_loss ? z_loss * lse * lse : 0);
    if (row_weights) {
        real w = row_weights[blockIdx.x];
        real factor = w * (1 + 2 * z_loss * lse) / total, uniform = smoothing / V * w;
        for (int i = threadIdx.x; i < V; i += blockDim.x)
            z[i] = exp(z[i] - maximum) * factor - uniform - (i == target ? (1 - smoothing) * w : 0);
    }
    if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}

// --- element by element ------------------------------------------------------------------------------------------

#define FOR_EACH(i, n) \
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64)gridDim.x * blockDim.x)

// y = x h and its slope dy/dx; `slopes` may be `xs`. And the gradient dx = dy times the slope.
#define ACTIVATION(name, H, Y, SLOPE)                                                                     \
    extern "C" __global__ void name(const stored* xs, stored* ys, stored* slopes, int64 n)                \
    {                                                                                                     \
        FOR_EACH(i, n) {                                                                                  \
            real x = xs[i], h = H, y = Y;                                                                 \
            ys[i] = y, slopes[i] = SLOPE;                                                                 \
        }                                                                                                 \
    }                                                                                                     \
    extern "C" __global__ void name##_gradient(const stored* xs, const stored* dys, stored* dxs, int64 n) \
    {                                                                                                     \
        FOR_EACH(i, n) {                                                                                  \
            real x = xs[i], h = H, y = Y;                                                                 \
            dxs[i] = dys[i] * (SLOPE);                                                                    \
        }                                                                                                 \
    }

// u = sqrt(2 / pi) (x + 0.044715 x^3) of the tanh form of gelu, and 2 du/dx
__device__ real inner(real x) { return real(0.7978845608028654) * x * (1 + real(0.044715) * x * x); }
__device__ real twice_inner_slope(real x) { return real(0.7978845608028654) * (2 + real(6 * 0.044715) * x * x); }

// 0.7071... = sqrt(1 / 2), and 0.3989... = 1 / sqrt(2 pi)
ACTIVATION(silu, 1 / (1 + exp(-x)), x * h, h + y * (1 - h))
ACTIVATION(gelu, erfc(-x * real(0.7071067811865476)) / 2, x * h, h + x * exp(-x * x / 2) * real(0.3989422804014327))
ACTIVATION(gelu_tanh, (1 + tanh(inner(x))) / 2, x * h, h + y * (1 - h) * twice_inner_slope(x))
ACTIVATION(relu, x <= 0 ? 0 : 1, x <= 0 ? 0 : x, h)  // NaN stays NaN, with the slope 1
ACTIVATION(relu_squared, x <= 0 ? 0 : x, h * h, 2 * h)  // NaN stays NaN

// The two features of a pair are neighbours (`interleaved`) or half a row apart. Row r takes angles row r % angles.
extern "C" __global__ void rope(const stored* x, const real* cosines, const real* sines, stored* y, int64 pairs, int n,
                                int angles, int interleaved)
{
    FOR_EACH(i, pairs) {
        int64 row = i / n, j = i % n;
        int64 first = 2 * n * row + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : n);
        real a = x[first], b = x[second], c = cosines[row % angles * n + j], s = sines[row % angles * n + j];
        y[first] = a * c - b * s, y[second] = a * s + b * c;
    }
}

__device__ bool is_finite(double x) { return x - x == 0; }  // infinity - infinity is NaN

// Step t of AdamW. If `guard` is not finite, nothing changes. Where `t_and_lr` is not null, its two numbers replace the
// arguments: those of a captured graph can never change, but what is in an array can. What depends on t is computed in
// double, because there are differences of numbers near 1 in it.
extern "C" __global__ void adamw(real* ps, const real* gs, real* ms, real* vs, int64 n, double t, double lr,
                                 double beta1, double beta2, double eps, double weight_decay, const double* t_and_lr,
                                 const double* guard)
{
    if (guard && !is_finite(*guard)) return;
    if (t_and_lr) t = t_and_lr[0], lr = t_and_lr[1];
    double correction1 = 1 - pow(beta1, t), correction2 = sqrt(1 - pow(beta2, t));
    // p -= lr (m / correction1) / (sqrt(v) / correction2 + eps), with numerator and denominator times correction2
    real rate = lr * correction2 / correction1, decay = 1 - lr * weight_decay, small = eps * correction2;
    real b1 = beta1, c1 = 1 - beta1, b2 = beta2, c2 = 1 - beta2;
    FOR_EACH(i, n) {
        real g = gs[i];
        real m = b1 * ms[i] + c1 * g, v = b2 * vs[i] + c2 * g * g;
        ms[i] = m, vs[i] = v;
        ps[i] = decay * ps[i] - rate * m / (sqrt(v) + small);
    }
}

// --- the norm of the gradient, and clipping ------------------------------------------------------------------------

// Each block adds the squares of its elements, in double: there, the square of a float is never infinite or 0.
extern "C" __global__ void squares(const real* gs, int64 n, double* totals)
{
    double total = 0;
    FOR_EACH(i, n) total += (double)gs[i] * gs[i];
    total = block_sum(total);
    if (threadIdx.x == 0) totals[blockIdx.x] = total;
}

// one block: the norm, from the totals of all blocks of `squares`, always added in the same order
extern "C" __global__ void norm_of_squares(const double* totals, int n, double* norm)
{
    double total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += totals[i];
    total = block_sum(total);
    if (threadIdx.x == 0) *norm = sqrt(total);
}

// the gradient times min(1, max_norm / (norm + 1e-6)); it stays as it is if the norm is not finite
extern "C" __global__ void clip(real* gs, int64 n, const double* norm, double max_norm)
{
    double factor = max_norm / (*norm + 1e-6);
    if (!is_finite(*norm) || factor >= 1) return;
    FOR_EACH(i, n) gs[i] = gs[i] * factor;
}
