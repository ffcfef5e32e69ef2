"""Matrix fragments in the registers of a warp's 32 lanes, and the instructions that move and multiply them, in C++.

A *fragment* is a 16 x 16 matrix of halfs over a warp, four registers of two halfs in each lane; *sums* are a 16 x 8 matrix of
floats, four in each lane. The layout is that of NVIDIA's PTX ISA, "Matrix fragments for mma.m16n8k16":

* left operand A [16 rows, 16 k]: register r of a lane has row `lane / 4 + 8 (r % 2)`, k `2 (lane % 4) + 8 (r / 2)` and the next
  k in the high half;
* right operand B [16 k, 8 columns]: register r has column `lane / 4`, k `2 (lane % 4) + 8 r` and the next k; two of them
  side by side are a fragment;
* sums C [16 rows, 8 columns]: value v has row `lane / 4 + 8 (v / 2)`, column `2 (lane % 4) + v % 2`.

So the sums of one layer, in pairs as halfs, are the left operand of the next, in the same lanes.

In memory a matrix of halfs is stored in *blocks* of 8 x 8, each row-major in 128 bytes: a register of a fragment is a block, the
lane's own at byte `4 lane`, so there are no bank conflicts. `ldmatrix` reads four blocks, optionally transposed, so that one copy
of the weights serves the forward and the backward pass.

The text below goes into functions of `wp.func_native` on both devices. A variable has one value per lane on CUDA, where a thread
is a lane. On the CPU it is an array over the 32 lanes of every warp in the block, and the instructions are emulated as defined
above: tests on the CPU verify the index arithmetic of the CUDA program.
"""

from __future__ import annotations

from string import Template

import warp as wp

BLOCK = 64
"""Number of halfs in a block of 8 x 8."""


@wp.func
def block_index(row: int, column: int, columns: int) -> int:
    """The index, in blocks, of an element of a matrix whose number of columns is a multiple of 8."""
    block = (row // 8) * (columns // 8) + column // 8
    return block * 64 + (row % 8) * 8 + column % 8


def preamble(warps: int) -> str:
    """The common beginning of all snippets, for blocks of `warps` warps."""
    return Template(_PREAMBLE).substitute(warps=warps)


_PREAMBLE = """
#if defined(__CUDA_ARCH__)
#define NRC_UNROLL _Pragma("unroll")
#define NRC_NO_UNROLL _Pragma("unroll 1")
#define NRC_LANES(i, lane) for (int i = 0, lane = threadIdx.x & 31; i < 1; ++i)
#define NRC_WARPS(w, warp) for (int w = 0, warp = threadIdx.x >> 5; w < 1; ++w)
#define NRC_THREADS(thread) for (int thread = threadIdx.x, once = 1; once; once = 0)
#define NRC_SYNC __syncthreads()
    enum { WARPS = $warps, LANES = 1, HERE = 1 };
#else
#define NRC_UNROLL
#define NRC_NO_UNROLL
#define NRC_LANES(i, lane) for (int i = 0, lane = 0; i < 32; ++i, ++lane)
#define NRC_WARPS(w, warp) for (int w = 0, warp = 0; w < HERE; ++w, ++warp)
#define NRC_THREADS(thread) for (int thread = 0; thread < 32 * HERE; ++thread)
#define NRC_SYNC
    enum { WARPS = $warps, LANES = 32, HERE = $warps };
#endif
    struct Fragment { unsigned r[4][LANES]; };
    struct Sums { float v[4][LANES]; };

    struct Warp {
        static CUDA_CALLABLE unsigned pack(float low, float high) {
#if defined(__CUDA_ARCH__)
            unsigned pair;
            asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
            return pair;
#else
            return wp::half(low).u | (unsigned)wp::half(high).u << 16;
#endif
        }

        // The number in the low (0) or high (1) half of a pair
        static CUDA_CALLABLE float unpack(unsigned pair, int which) {
            wp::half value;
            value.u = (unsigned short)(pair >> 16 * which);
            return wp::half_to_float(value);
        }

        // sums += a b, with the columns of b in registers `first` and `first + 1`
        static CUDA_CALLABLE void multiply(Sums& sums, const Fragment& a, const Fragment& b, int first) {
#if defined(__CUDA_ARCH__)
            asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                "{%0, %1, %2, %3};"
                : "+f"(sums.v[0][0]), "+f"(sums.v[1][0]), "+f"(sums.v[2][0]), "+f"(sums.v[3][0])
                : "r"(a.r[0][0]), "r"(a.r[1][0]), "r"(a.r[2][0]), "r"(a.r[3][0]), "r"(b.r[first][0]),
                  "r"(b.r[first + 1][0]));
#else
            float left[16][16], right[16][8];
            for (int lane = 0; lane < 32; ++lane) {
                const int group = lane / 4, pair = 2 * (lane % 4);
                for (int r = 0; r < 4; ++r)
                    for (int h = 0; h < 2; ++h)
                        left[group + 8 * (r % 2)][pair + 8 * (r / 2) + h] = unpack(a.r[r][lane], h);
                for (int r = 0; r < 2; ++r)
                    for (int h = 0; h < 2; ++h) right[pair + 8 * r + h][group] = unpack(b.r[first + r][lane], h);
            }
            for (int lane = 0; lane < 32; ++lane)
                for (int v = 0; v < 4; ++v) {
                    const int row = lane / 4 + 8 * (v / 2), column = 2 * (lane % 4) + v % 2;
                    float sum = sums.v[v][lane];
                    for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k][column];
                    sums.v[v][lane] = sum;
                }
#endif
        }

        // Transpose the 8 x 8 matrix in a register
        static CUDA_CALLABLE void transpose(unsigned* x) {
#if defined(__CUDA_ARCH__)
            asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;" : "+r"(x[0]));
#else
            unsigned short matrix[8][8];
            for (int lane = 0; lane < 32; ++lane)
                for (int h = 0; h < 2; ++h) matrix[lane / 4][2 * (lane % 4) + h] = (unsigned short)(x[lane] >> 16 * h);
            for (int lane = 0; lane < 32; ++lane)
                x[lane] = matrix[2 * (lane % 4)][lane / 4] | (unsigned)matrix[2 * (lane % 4) + 1][lane / 4] << 16;
#endif
        }

        // Four blocks of shared memory, register r from `first + r % 2 * step + r / 2 * jump`, as they are or each transposed
        static CUDA_CALLABLE void load(Fragment& x, const unsigned short* first, int step, int jump, bool transposed) {
            const unsigned short* rows[LANES];  // lane l gives the address of row l % 8 of block l / 8
            NRC_LANES(i, lane) rows[i] = first + (lane >> 3 & 1) * step + (lane >> 4) * jump + (lane & 7) * 8;
#if defined(__CUDA_ARCH__)
            const unsigned address = (unsigned)__cvta_generic_to_shared(rows[0]);
            if (transposed)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                    : "=r"(x.r[0][0]), "=r"(x.r[1][0]), "=r"(x.r[2][0]), "=r"(x.r[3][0]) : "r"(address) : "memory");
            else
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                    : "=r"(x.r[0][0]), "=r"(x.r[1][0]), "=r"(x.r[2][0]), "=r"(x.r[3][0]) : "r"(address) : "memory");
#else
            for (int r = 0; r < 4; ++r)
                for (int lane = 0; lane < 32; ++lane) {
                    const int group = lane / 4, pair = 2 * (lane % 4);
                    unsigned halfs[2];
                    for (int h = 0; h < 2; ++h)
                        halfs[h] = transposed ? rows[8 * r + pair + h][group] : rows[8 * r + group][pair + h];
                    x.r[r][lane] = halfs[0] | halfs[1] << 16;
                }
#endif
        }

        // The same from memory of the device, through the cache
        static CUDA_CALLABLE void fetch(Fragment& x, const unsigned short* first, int step, int jump, bool transposed) {
            NRC_UNROLL for (int r = 0; r < 4; ++r) {
                const unsigned short* block = first + (r & 1) * step + (r >> 1) * jump;
                NRC_LANES(i, lane) x.r[r][i] = *(const unsigned*)(block + 2 * lane);
                if (transposed) transpose(x.r[r]);
            }
        }

        // Into four blocks, the inverse of `load` without transposition
        static CUDA_CALLABLE void store(const Fragment& x, unsigned short* first, int step, int jump) {
            NRC_UNROLL for (int r = 0; r < 4; ++r) {
                unsigned short* block = first + (r & 1) * step + (r >> 1) * jump;
                NRC_LANES(i, lane) *(unsigned*)(block + 2 * lane) = x.r[r][i];
            }
        }
    };
"""
