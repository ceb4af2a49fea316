// Causal attention on tensor cores, forward and backward in a kernel each (FlashAttention-2: Dao 2023, arXiv:2307.08691).
// The maths is in fused/attention.py, and tensor_cores.cu comes before this file.
//
// A block has 4 warps, and TILE rows: each warp 16 of them. It goes through the other side in tiles of TILE rows, which
// all warps read from shared memory. So the scores (TILE, TILE) exist only in registers. HEAD is the number of features of
// a head, a multiple of 16 up to 64, and an option of the compiler. Rows beyond the text are read as zeros, and never
// written. q, k and v may be views: three strides each, of a text, a head and a row. All else is (B, T, heads, HEAD) in
// memory, but lse and delta, which are (B, H, T).

#define TILE 64
#define THREADS 128
#define ROW (HEAD + 8)  // of a tile in shared memory: the rows that lanes read at once are in different banks
#define HIDDEN -3e38f   // a score whose exponential is 0; each query sees the first key, so no row has only these
#define LOG2_E 1.4426950408889634f  // exp(x) = exp2(x log2(e)), and exp2 is one instruction

typedef half16 Tile[TILE][ROW];
typedef RESULT result;  // an option of the compiler: half16, or float, of what is written

__device__ __forceinline__ int warp_row() { return threadIdx.x / 32 * 16; }  // the first row of this warp in a tile
__device__ __forceinline__ int lane_row() { return threadIdx.x % 32 / 4; }    // g and t of tensor_cores.cu
__device__ __forceinline__ int lane_column() { return threadIdx.x % 4 * 2; }
__device__ __forceinline__ unsigned two(const half16* p) { return *(const unsigned*)p; }

// the rows of `source` from `first` on, `stride` numbers apart; zeros from row `end` on
__device__ void load(Tile tile, const half16* source, int64 stride, int first, int end)
{
    const int PIECES = HEAD / 8;  // of 16 bytes
    for (int i = threadIdx.x; i < TILE * PIECES; i += THREADS) {
        int row = i / PIECES, column = i % PIECES * 8;
        uint4 piece = {0, 0, 0, 0};
        if (first + row < end) piece = *(const uint4*)(source + (first + row) * stride + column);
        *(uint4*)&tile[row][column] = piece;
    }
}

// the 16 rows of this warp in a tile, as left operands
__device__ void load_rows(unsigned a[HEAD / 16][4], const Tile tile)
{
    int row = warp_row() + lane_row(), column = lane_column();
    for (int k = 0; k < HEAD / 16; k++) {
        a[k][0] = two(&tile[row][16 * k + column]), a[k][1] = two(&tile[row + 8][16 * k + column]);
        a[k][2] = two(&tile[row][16 * k + column + 8]), a[k][3] = two(&tile[row + 8][16 * k + column + 8]);
    }
}

// c (16, TILE) += a (16, HEAD) tile^T
__device__ void times_transposed(float c[TILE / 8][4], const unsigned a[HEAD / 16][4], const Tile tile)
{
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int k = 0; k < HEAD / 16; k++) {
            const half16* p = &tile[8 * n + lane_row()][16 * k + lane_column()];
            multiply_add(c[n], a[k], two(p), two(p + 8));
        }
}

// c (16, HEAD) += a (16, TILE) tile
__device__ void times(float c[HEAD / 8][4], const unsigned a[TILE / 16][4], const Tile tile)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
#pragma unroll
        for (int n = 0; n < HEAD / 8; n += 2) {
            unsigned b[4];
            load_transposed(b, &tile[16 * k + lane % 16][8 * n + lane / 16 * 8]);
            multiply_add(c[n], a[k], b[0], b[1]), multiply_add(c[n + 1], a[k], b[2], b[3]);
        }
}

// a result (16, TILE) becomes a left operand: what a lane holds of it is what it needs
__device__ void as_operand(unsigned a[TILE / 16][4], const float c[TILE / 8][4])
{
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        const float *left = c[2 * k], *right = c[2 * k + 1];
        a[k][0] = pack(left[0], left[1]), a[k][1] = pack(left[2], left[3]);
        a[k][2] = pack(right[0], right[1]), a[k][3] = pack(right[2], right[3]);
    }
}

__device__ void put(half16* p, float a, float b) { *(unsigned*)p = pack(a, b); }
__device__ void put(float* p, float a, float b) { p[0] = a, p[1] = b; }
__device__ float value_of(half16 x) { return unpack(x); }
__device__ float value_of(float x) { return x; }

// c (16, HEAD) times a factor for each of the two rows of a lane, into rows first + ... of `out`
__device__ void store(result* out, int64 stride, const float c[HEAD / 8][4], const float factor[2], int first, int end)
{
    for (int r = 0; r < 2; r++) {
        int row = first + warp_row() + lane_row() + 8 * r;
        if (row < end)
            for (int n = 0; n < HEAD / 8; n++)
                put(out + row * stride + 8 * n + lane_column(), c[n][2 * r] * factor[r], c[n][2 * r + 1] * factor[r]);
    }
}

// one block for each tile of queries, head and text
extern "C" __global__ void flash_forward(const half16* q, const half16* k, const half16* v, result* out, float* lse, int64 q_text,
                                         int64 q_head, int64 q_row, int64 k_text, int64 k_head, int64 k_row, int64 v_text,
                                         int64 v_head, int64 v_row, int heads, int group, int T, float scale)
{
    __shared__ __align__(16) Tile keys, values;
    int first = (gridDim.x - 1 - blockIdx.x) * TILE, h = blockIdx.y, b = blockIdx.z;  // those with most keys begin first
    k += b * k_text + h / group * k_head, v += b * v_text + h / group * v_head;
    unsigned queries[HEAD / 16][4], p[TILE / 16][4];
    load(keys, q + b * q_text + h * q_head, q_row, first, T);
    __syncthreads();
    load_rows(queries, keys);
    // of the two rows of this lane: the largest score so far, the sum of exp(score - that), and the sum of these times v
    float largest[2] = {HIDDEN, HIDDEN}, total[2] = {0, 0}, y[HEAD / 8][4] = {}, log2_scale = scale * LOG2_E;
    for (int start = 0; start <= first; start += TILE) {
        __syncthreads();
        load(keys, k, k_row, start, T), load(values, v, v_row, start, T);
        __syncthreads();
        float scores[TILE / 8][4] = {};
        times_transposed(scores, queries, keys);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int query = first + warp_row() + lane_row() + 8 * r;
            float before = largest[r], sum = 0;
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int e = 2 * r; e < 2 * r + 2; e++) {
                    if (start + 8 * n + lane_column() + e % 2 > query) scores[n][e] = HIDDEN;
                    largest[r] = fmaxf(largest[r], scores[n][e]);
                }
            // a row of scores is in four lanes
            largest[r] = fmaxf(largest[r], __shfl_xor_sync(~0u, largest[r], 1));
            largest[r] = fmaxf(largest[r], __shfl_xor_sync(~0u, largest[r], 2));
            float shrink = exp2f((before - largest[r]) * log2_scale);
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int e = 2 * r; e < 2 * r + 2; e++)
                    sum += scores[n][e] = exp2f((scores[n][e] - largest[r]) * log2_scale);
            total[r] = total[r] * shrink + sum;
#pragma unroll
            for (int n = 0; n < HEAD / 8; n++) y[n][2 * r] *= shrink, y[n][2 * r + 1] *= shrink;
        }
        as_operand(p, scores);
        times(y, p, values);
    }
    float one_over_total[2];
    for (int r = 0; r < 2; r++) {
        total[r] += __shfl_xor_sync(~0u, total[r], 1);
        total[r] += __shfl_xor_sync(~0u, total[r], 2);
        one_over_total[r] = 1 / total[r];
        int query = first + warp_row() + lane_row() + 8 * r;
        if (lane_column() == 0 && query < T) lse[((int64)b * heads + h) * T + query] = largest[r] * scale + logf(total[r]);
    }
    store(out + ((int64)b * T * heads + h) * HEAD, (int64)heads * HEAD, y, one_over_total, first, T);
}

// delta = rowsum(dO * O), one warp for each row
extern "C" __global__ void flash_delta(const result* out, const half16* dout, float* delta, int rows, int heads, int T)
{
    int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;  // row (text, position, head)
    float sum = 0;
    if (row < rows)
        for (int i = lane; i < HEAD; i += 32) sum += value_of(out[(int64)row * HEAD + i]) * unpack(dout[(int64)row * HEAD + i]);
    for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    int h = row % heads, t = row / heads % T, b = row / heads / T;
    if (row < rows && lane == 0) delta[((int64)b * heads + h) * T + t] = sum;
}

// the weights P of a tile from its scores, and dX = P * (dP - delta), where a lane's rows are queries
__device__ void weights_of_queries(float p[TILE / 8][4], float dp[TILE / 8][4], const float lse[2], const float delta[2],
                                   int query, int key, float log2_scale)
{
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            bool hidden = key + 8 * n + lane_column() + e % 2 > query + 8 * (e / 2);
            p[n][e] = hidden ? 0.f : exp2f(p[n][e] * log2_scale - lse[e / 2]);
            dp[n][e] = p[n][e] * (dp[n][e] - delta[e / 2]);
        }
}

// dQ of a tile of queries: dQ = scale dX K
__device__ void backward_of_queries(const half16* q, int64 q_row, const half16* k, int64 k_row, const half16* v, int64 v_row,
                                    const half16* dout, int64 dout_row, const float* lse, const float* delta, result* dq,
                                    int first, int T, float scale, Tile keys, Tile values)
{
    unsigned queries[HEAD / 16][4], gradients[HEAD / 16][4], dx[TILE / 16][4];
    load(keys, q, q_row, first, T), load(values, dout, dout_row, first, T);
    __syncthreads();
    load_rows(queries, keys), load_rows(gradients, values);
    int query = first + warp_row() + lane_row();
    float sum[HEAD / 8][4] = {}, lse2[2] = {0, 0}, deltas[2] = {0, 0}, scales[2] = {scale, scale};
    for (int r = 0; r < 2; r++)
        if (query + 8 * r < T) lse2[r] = lse[query + 8 * r] * LOG2_E, deltas[r] = delta[query + 8 * r];
    for (int start = 0; start <= first; start += TILE) {
        __syncthreads();
        load(keys, k, k_row, start, T), load(values, v, v_row, start, T);
        __syncthreads();
        float p[TILE / 8][4] = {}, dp[TILE / 8][4] = {};
        times_transposed(p, queries, keys), times_transposed(dp, gradients, values);
        weights_of_queries(p, dp, lse2, deltas, query, start, scale * LOG2_E);
        as_operand(dx, dp);
        times(sum, dx, keys);
    }
    store(dq, dout_row, sum, scales, first, T);
}

// One block for each tile of queries, which computes dQ; and one for each tile of keys, which computes dK = scale dX^T Q and
// dV = P^T dO. There, all is transposed: a lane's rows are keys. Nothing is added by two blocks, so results are always equal.
extern "C" __global__ void flash_backward(const half16* q, const half16* k, const half16* v, const half16* dout, const float* lse,
                                          const float* delta, result* dq, result* dk, result* dv, int64 q_text, int64 q_head,
                                          int64 q_row, int64 k_text, int64 k_head, int64 k_row, int64 v_text, int64 v_head,
                                          int64 v_row, int heads, int group, int T, float scale)
{
    __shared__ __align__(16) Tile left, right;
    __shared__ float lse2[TILE], deltas[TILE];
    int tiles = gridDim.x / 2, h = blockIdx.y, b = blockIdx.z, key_heads = heads / group;
    int64 dout_row = (int64)heads * HEAD, dk_row = (int64)key_heads * HEAD, scalars = (int64)b * heads * T;
    q += b * q_text, k += b * k_text, v += b * v_text, dout += b * T * dout_row;
    if (blockIdx.x < tiles) {
        int first = (tiles - 1 - blockIdx.x) * TILE, kv = h / group;
        backward_of_queries(q + h * q_head, q_row, k + kv * k_head, k_row, v + kv * v_head, v_row, dout + h * HEAD, dout_row,
                            lse + scalars + h * T, delta + scalars + h * T, dq + b * T * dout_row + h * HEAD, first, T, scale,
                            left, right);
        return;
    }
    if (h >= key_heads) return;
    int first = (blockIdx.x - tiles) * TILE;
    unsigned keys[HEAD / 16][4], values[HEAD / 16][4], operand[TILE / 16][4];
    load(left, k + h * k_head, k_row, first, T), load(right, v + h * v_head, v_row, first, T);
    __syncthreads();
    load_rows(keys, left), load_rows(values, right);
    float sum_k[HEAD / 8][4] = {}, sum_v[HEAD / 8][4] = {};
    for (int head = h * group; head < (h + 1) * group; head++)
        for (int start = first; start < T; start += TILE) {
            __syncthreads();
            load(left, q + head * q_head, q_row, start, T), load(right, dout + head * HEAD, dout_row, start, T);
            if (threadIdx.x < TILE) {
                int64 query = start + threadIdx.x, at = scalars + (int64)head * T + query;
                lse2[threadIdx.x] = query < T ? lse[at] * LOG2_E : 0, deltas[threadIdx.x] = query < T ? delta[at] : 0;
            }
            __syncthreads();
            float p[TILE / 8][4] = {}, dp[TILE / 8][4] = {};
            times_transposed(p, keys, left), times_transposed(dp, values, right);
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int i = 8 * n + lane_column() + e % 2, query = start + i;
                    bool hidden = first + warp_row() + lane_row() + 8 * (e / 2) > query || query >= T;
                    p[n][e] = hidden ? 0.f : exp2f(p[n][e] * scale * LOG2_E - lse2[i]);
                    dp[n][e] = p[n][e] * (dp[n][e] - deltas[i]);
                }
            as_operand(operand, p);
            times(sum_v, operand, right);
            as_operand(operand, dp);
            times(sum_k, operand, left);
        }
    float scales[2] = {scale, scale}, ones[2] = {1, 1};
    store(dk + b * T * dk_row + h * HEAD, dk_row, sum_k, scales, first, T);
    store(dv + b * T * dk_row + h * HEAD, dk_row, sum_v, ones, first, T);
}
