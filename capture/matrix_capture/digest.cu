// Digests of a tensor where it is: BLAKE3 of its header and bytes, XXH3 of its blocks, and how many
// elements are NaN, infinite or zero. The same figures as digest.py computes on the host.
//
// One launch does all of the first stage: its thread blocks share out the work among three roles.
// BLAKE3: each thread hashes one chunk of 1024 bytes, each thread block merges 256 of them; further
// launches merge what is left by 256. See "BLAKE3: one function, fast everywhere" (2021).
// XXH3: each thread block hashes one block of the tensor. See the specification of XXH3 in the
// documentation of xxHash.

#include <cstdint>

#ifndef EMULATED
#include <cuda_runtime.h>
#define DEVICE __device__ __forceinline__
#define CONSTANT __constant__
#endif

namespace {

constexpr int kThreads = 256;
constexpr uint32_t kChunkStart = 1, kChunkEnd = 2, kParent = 4, kRoot = 8;

CONSTANT const uint32_t kIv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                  0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

struct Message {
  uint8_t header[64];
  uint32_t header_bytes;
  const uint8_t* data;  // aligned to 16
  uint64_t data_bytes;
};

DEVICE uint32_t rotated(uint32_t word, int by) { return (word >> by) | (word << (32 - by)); }

DEVICE void mix(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d, uint32_t x, uint32_t y) {
  a += b + x;
  d = rotated(d ^ a, 16);
  c += d;
  b = rotated(b ^ c, 12);
  a += b + y;
  d = rotated(d ^ a, 8);
  c += d;
  b = rotated(b ^ c, 7);
}

// The chaining value `cv` after one block of 16 words.
DEVICE void compress(uint32_t cv[8], const uint32_t block[16], uint64_t counter, uint32_t length,
                     uint32_t flags) {
  // Which word each of the seven rounds takes: the permutation of BLAKE3, applied again and again.
  constexpr uint8_t kOrder[7][16] = {
      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
      {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
      {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
      {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
      {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
      {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
      {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
  };
  uint32_t s[16] = {cv[0],  cv[1],  cv[2],  cv[3],
                    cv[4],  cv[5],  cv[6],  cv[7],
                    kIv[0], kIv[1], kIv[2], kIv[3],
                    static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                    length, flags};
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    const uint8_t* m = kOrder[round];
    mix(s[0], s[4], s[8], s[12], block[m[0]], block[m[1]]);
    mix(s[1], s[5], s[9], s[13], block[m[2]], block[m[3]]);
    mix(s[2], s[6], s[10], s[14], block[m[4]], block[m[5]]);
    mix(s[3], s[7], s[11], s[15], block[m[6]], block[m[7]]);
    mix(s[0], s[5], s[10], s[15], block[m[8]], block[m[9]]);
    mix(s[1], s[6], s[11], s[12], block[m[10]], block[m[11]]);
    mix(s[2], s[7], s[8], s[13], block[m[12]], block[m[13]]);
    mix(s[3], s[4], s[9], s[14], block[m[14]], block[m[15]]);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) cv[i] = s[i] ^ s[i + 8];
}

DEVICE uint8_t byte_at(const Message& message, uint64_t place) {
  if (place < message.header_bytes) return message.header[place];
  place -= message.header_bytes;
  return place < message.data_bytes ? message.data[place] : 0;
}

// Four bytes of the message; beyond its end there are zeros.
DEVICE uint32_t word_at(const Message& message, uint64_t place) {
  const uint64_t in_data = place - message.header_bytes;
  if (place >= message.header_bytes && in_data + 8 <= message.data_bytes) {
    const auto* words = reinterpret_cast<const uint32_t*>(message.data) + in_data / 4;
    const int shift = 8 * (in_data % 4);
    return shift == 0 ? words[0] : (words[0] >> shift) | (words[1] << (32 - shift));
  }
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word |= static_cast<uint32_t>(byte_at(message, place + i)) << (8 * i);
  return word;
}

// The chaining value of a chunk; that of the message itself if it is `alone`.
DEVICE void hash_chunk(uint32_t cv[8], const Message& message, uint64_t chunk, bool alone) {
  const uint64_t total = message.header_bytes + message.data_bytes;
  const uint64_t start = chunk * 1024;
  const uint32_t length = total - start < 1024 ? static_cast<uint32_t>(total - start) : 1024;
  const int blocks = length == 0 ? 1 : (length + 63) / 64;
  for (int i = 0; i < 8; ++i) cv[i] = kIv[i];
  for (int b = 0; b < blocks; ++b) {
    uint32_t block[16];
#pragma unroll
    for (int w = 0; w < 16; ++w) block[w] = word_at(message, start + 64 * b + 4 * w);
    const bool last = b == blocks - 1;
    const uint32_t flags = (b == 0 ? kChunkStart : 0) | (last ? kChunkEnd : 0) |
                           (last && alone ? kRoot : 0);
    compress(cv, block, chunk, last ? length - 64 * b : 64, flags);
  }
}

DEVICE void merge(uint32_t cv[8], const uint32_t left[8], const uint32_t right[8], bool root) {
  uint32_t block[16];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    block[i] = left[i];
    block[i + 8] = right[i];
    cv[i] = kIv[i];
  }
  compress(cv, block, 0, 64, kParent | (root ? kRoot : 0));
}

constexpr uint64_t kPrime32_1 = 0x9E3779B1, kPrime32_2 = 0x85EBCA77, kPrime32_3 = 0xC2B2AE3D;
constexpr uint64_t kPrime64_1 = 0x9E3779B185EBCA87, kPrime64_2 = 0xC2B2AE3D27D4EB4F,
                   kPrime64_3 = 0x165667B19E3779F9, kPrime64_4 = 0x85EBCA77C2B2AE63,
                   kPrime64_5 = 0x27D4EB2F165667C5;

CONSTANT const uint64_t kStart[8] = {kPrime32_3, kPrime64_1, kPrime64_2, kPrime64_3,
                                     kPrime64_4, kPrime32_2, kPrime64_5, kPrime32_1};

// The default secret of XXH3, as little-endian words.
CONSTANT const uint64_t kSecret[24] = {
    0xBE4BA423396CFEB8, 0x1CAD21F72C81017C, 0xDB979083E96DD4DE, 0x1F67B3B7A4A44072,
    0x78E5C0CC4EE679CB, 0x2172FFCC7DD05A82, 0x8E2443F7744608B8, 0x4C263A81E69035E0,
    0xCB00C391BB52283C, 0xA32E531B8B65D088, 0x4EF90DA297486471, 0xD8ACDEA946EF1938,
    0x3F349CE33F76FAA8, 0x1D4F0BC7C7BBDCF9, 0x3159B4CD4BE0518A, 0x647378D9C97E9FC8,
    0xC3EBD33483ACC5EA, 0xEB6313FAFFA081C5, 0x49DAF0B751DD0D17, 0x9E68D429265516D3,
    0xFCA1477D58BE162B, 0xCE31D07AD1B8F88F, 0x280416958F3ACB45, 0x7E404BBBCAFBD7AF};

DEVICE uint64_t secret_at(int place) {
  const int shift = 8 * (place % 8);
  const uint64_t low = kSecret[place / 8] >> shift;
  return shift == 0 ? low : low | (kSecret[place / 8 + 1] << (64 - shift));
}

DEVICE uint64_t load64(const uint8_t* from) {
  if (reinterpret_cast<uintptr_t>(from) % 8 == 0) return *reinterpret_cast<const uint64_t*>(from);
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= static_cast<uint64_t>(from[i]) << (8 * i);
  return value;
}

DEVICE uint64_t product(uint64_t keyed) { return (keyed & 0xFFFFFFFF) * (keyed >> 32); }

DEVICE uint64_t scrambled(uint64_t sum, int lane) {
  return ((sum ^ (sum >> 47)) ^ kSecret[16 + lane]) * kPrime32_1;
}

DEVICE uint64_t folded(uint64_t a, uint64_t b) {
  const uint64_t low = a * b;
#ifdef __CUDA_ARCH__
  return low ^ __umul64hi(a, b);
#else
  return low ^ static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
#endif
}

DEVICE uint64_t merged(const uint64_t sums[8], int place, uint64_t start) {
  uint64_t result = start;
  for (int i = 0; i < 4; ++i) {
    result += folded(sums[2 * i] ^ secret_at(place + 16 * i),
                     sums[2 * i + 1] ^ secret_at(place + 16 * i + 8));
  }
  result ^= result >> 37;
  result *= 0x165667919E3779F9;
  return result ^ (result >> 32);
}

DEVICE void write_big_endian(uint8_t* to, uint64_t value) {
  for (int i = 0; i < 8; ++i) to[i] = static_cast<uint8_t>(value >> (56 - 8 * i));
}

DEVICE void finish_xxh3(uint8_t* out, const uint64_t sums[8], uint64_t length) {
  write_big_endian(out, merged(sums, 117, ~(length * kPrime64_2)));
  write_big_endian(out + 8, merged(sums, 11, length * kPrime64_1));
}

#ifndef EMULATED

// Where results go: the digest, three counts, and from byte 64 on the hashes of the blocks.
constexpr int kCounts = 32, kBlocks = 64;
constexpr int kBatch = 128;  // rounds of XXH3 whose parts fit where chaining values do otherwise

enum Kind : int { kInteger, kFloat16, kBfloat16, kFloat32, kFloat64 };

struct Job {
  Message message;
  uint64_t chunks, block_bytes, blocks, elements;
  uint32_t leaf_groups, count_groups;
  int kind, element_bytes;
  uint32_t* nodes;  // one chaining value for each thread block of leaves
  uint8_t* out;
};

// Merge up to 256 chaining values, one per thread, in the order of their threads.
__device__ void merge_group(uint32_t (*nodes)[8], uint32_t count, bool whole, uint32_t* to) {
  const uint32_t t = threadIdx.x;
  while (count > 1) {
    __syncthreads();
    const uint32_t pairs = count / 2;
    uint32_t cv[8];
    if (t < pairs) {
      merge(cv, nodes[2 * t], nodes[2 * t + 1], whole && count == 2);
    } else if (t == pairs && count % 2) {
      for (int i = 0; i < 8; ++i) cv[i] = nodes[count - 1][i];
    }
    __syncthreads();
    count = pairs + count % 2;
    if (t < count) {
      for (int i = 0; i < 8; ++i) nodes[t][i] = cv[i];
    }
  }
  __syncthreads();
  if (t < 8) to[t] = nodes[0][t];
}

__device__ void hash_leaves(const Job& job, uint32_t group, uint32_t (*nodes)[8]) {
  const uint64_t first = static_cast<uint64_t>(group) * kThreads;
  const uint64_t left = job.chunks - first;
  const uint32_t count = left < kThreads ? static_cast<uint32_t>(left) : kThreads;
  if (threadIdx.x < count) {
    uint32_t cv[8];
    hash_chunk(cv, job.message, first + threadIdx.x, job.chunks == 1);
    for (int i = 0; i < 8; ++i) nodes[threadIdx.x][i] = cv[i];
  }
  const bool whole = job.leaf_groups == 1;
  merge_group(nodes, count, whole,
              whole ? reinterpret_cast<uint32_t*>(job.out) : job.nodes + 8 * group);
}

// What 1024 bytes add to the sums of XXH3, or as many stripes of 64 as there are; by one warp.
__device__ uint64_t gather(const uint8_t* from, int stripes) {
  const int lane = threadIdx.x % 8, row = threadIdx.x % 32 / 8;
  uint64_t products = 0, values = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int stripe = 4 * k + row;
    if (stripe < stripes) {
      const uint64_t value = load64(from + 64 * stripe + 8 * lane);
      products += product(value ^ kSecret[stripe + lane]);
      values += value;
    }
  }
  uint64_t part = products + __shfl_xor_sync(~0u, values, 1);
  part += __shfl_xor_sync(~0u, part, 8);
  return part + __shfl_xor_sync(~0u, part, 16);
}

// The sums of XXH3 follow on each other, but what is added to them does not: all warps prepare that
// for a batch of rounds, then eight threads go through the batch.
__device__ void hash_block(const Job& job, uint64_t number, uint64_t (*parts)[8]) {
  const uint8_t* block = job.message.data + number * job.block_bytes;
  const uint64_t left = job.message.data_bytes - number * job.block_bytes;
  const uint64_t length = left < job.block_bytes ? left : job.block_bytes;
  const uint64_t rounds = (length - 1) / 1024;
  const int t = threadIdx.x, lane = t % 8, warp = t / 32;
  uint64_t sum = kStart[lane];
  for (uint64_t start = 0; start < rounds; start += kBatch) {
    const int batch = rounds - start < kBatch ? static_cast<int>(rounds - start) : kBatch;
#pragma unroll 4
    for (int round = warp; round < batch; round += kThreads / 32) {
      const uint64_t part = gather(block + 1024 * (start + round), 16);
      if (t % 32 < 8) parts[round][lane] = part;
    }
    __syncthreads();
    if (t < 8) {
      for (int round = 0; round < batch; ++round) sum = scrambled(sum + parts[round][lane], lane);
    }
    __syncthreads();
  }
  if (warp > 0) return;
  sum = __shfl_sync(~0u, sum, lane);
  sum += gather(block + 1024 * rounds, static_cast<int>((length - 1 - 1024 * rounds) / 64));
  // The last stripe once more, whatever was left, under the end of the secret.
  const uint64_t value = load64(block + length - 64 + 8 * lane);
  sum += product(value ^ secret_at(121 + 8 * lane));
  sum += __shfl_xor_sync(~0u, value, 1);

  uint64_t sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = __shfl_sync(~0u, sum, i);
  if (t == 0) finish_xxh3(job.out + kBlocks + 16 * number, sums, length);
}

template <typename Bits>
__device__ void count_floats(const Job& job, uint32_t group, Bits exponent, uint64_t found[3]) {
  const auto* bits = reinterpret_cast<const Bits*>(job.message.data);
  const Bits magnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const uint64_t step = static_cast<uint64_t>(job.count_groups) * kThreads;
  for (uint64_t i = static_cast<uint64_t>(group) * kThreads + threadIdx.x; i < job.elements; i += step) {
    const Bits value = bits[i] & magnitude;
    found[0] += value > exponent;
    found[1] += value == exponent;
    found[2] += value == 0;
  }
}

template <typename Bits>
__device__ void count_zeros(const Job& job, uint32_t group, uint64_t found[3]) {
  const auto* values = reinterpret_cast<const Bits*>(job.message.data);
  const uint64_t step = static_cast<uint64_t>(job.count_groups) * kThreads;
  for (uint64_t i = static_cast<uint64_t>(group) * kThreads + threadIdx.x; i < job.elements; i += step) {
    found[2] += values[i] == 0;
  }
}

__device__ void count(const Job& job, uint32_t group) {
  uint64_t found[3] = {0, 0, 0};
  switch (job.kind) {
    case kFloat16: count_floats<uint16_t>(job, group, 0x7C00, found); break;
    case kBfloat16: count_floats<uint16_t>(job, group, 0x7F80, found); break;
    case kFloat32: count_floats<uint32_t>(job, group, 0x7F800000, found); break;
    case kFloat64: count_floats<uint64_t>(job, group, 0x7FF0000000000000, found); break;
    default:
      switch (job.element_bytes) {
        case 1: count_zeros<uint8_t>(job, group, found); break;
        case 2: count_zeros<uint16_t>(job, group, found); break;
        case 4: count_zeros<uint32_t>(job, group, found); break;
        default: count_zeros<uint64_t>(job, group, found); break;
      }
  }
  auto* counts = reinterpret_cast<unsigned long long*>(job.out + kCounts);
  for (int i = 0; i < 3; ++i) {
    for (int offset = 16; offset > 0; offset /= 2) {
      found[i] += __shfl_xor_sync(~0u, found[i], offset);
    }
    if (threadIdx.x % 32 == 0 && found[i]) atomicAdd(counts + i, found[i]);
  }
}

__global__ void __launch_bounds__(kThreads) digest_kernel(const __grid_constant__ Job job) {
  __shared__ union {
    uint32_t nodes[kThreads][8];
    uint64_t parts[kBatch][8];
  } shared;
  uint32_t group = blockIdx.x;
  // The slowest role first: a block of a tensor is one long chain of sums.
  if (group < job.blocks) return hash_block(job, group, shared.parts);
  group -= job.blocks;
  if (group < job.leaf_groups) return hash_leaves(job, group, shared.nodes);
  count(job, group - job.leaf_groups);
}

__global__ void __launch_bounds__(kThreads)
    merge_kernel(const uint32_t* from, uint32_t total, uint32_t* to) {
  __shared__ uint32_t nodes[kThreads][8];
  const uint32_t first = blockIdx.x * kThreads;
  const uint32_t left = total - first;
  const uint32_t count = left < kThreads ? left : kThreads;
  if (threadIdx.x < count) {
    for (int i = 0; i < 8; ++i) nodes[threadIdx.x][i] = from[8 * (first + threadIdx.x) + i];
  }
  merge_group(nodes, count, gridDim.x == 1, to + 8 * blockIdx.x);
}

#endif

}  // namespace

#ifndef EMULATED

// Bytes of scratch memory that a tensor of so many bytes needs.
extern "C" uint64_t scratch_bytes(uint64_t data_bytes) {
  const uint64_t groups = (data_bytes + 64) / 1024 / kThreads + 1;
  return 32 * (groups + groups / kThreads + 2);
}

// Digest a tensor in the order of `stream`; the number of the CUDA error, 0 if there is none.
// `data` is aligned to 16 bytes, each block but the last to 241 bytes and more, `out` to 8.
extern "C" int digest(const void* data, uint64_t data_bytes, const char* header,
                      uint32_t header_bytes, uint64_t block_bytes, int kind, int element_bytes,
                      void* scratch, void* out, void* stream_handle) {
  auto stream = static_cast<cudaStream_t>(stream_handle);
  Job job{};
  for (uint32_t i = 0; i < header_bytes; ++i) job.message.header[i] = header[i];
  job.message.header_bytes = header_bytes;
  job.message.data = static_cast<const uint8_t*>(data);
  job.message.data_bytes = data_bytes;
  job.chunks = (header_bytes + data_bytes + 1023) / 1024;
  job.block_bytes = block_bytes;
  job.blocks = (data_bytes + block_bytes - 1) / block_bytes;
  job.elements = data_bytes / element_bytes;
  job.leaf_groups = static_cast<uint32_t>((job.chunks + kThreads - 1) / kThreads);
  const uint64_t rounds = (job.elements + 16 * kThreads - 1) / (16 * kThreads);
  job.count_groups = static_cast<uint32_t>(rounds < 512 ? rounds : 512);
  job.kind = kind;
  job.element_bytes = element_bytes;
  job.nodes = static_cast<uint32_t*>(scratch);
  job.out = static_cast<uint8_t*>(out);

  cudaMemsetAsync(job.out + kCounts, 0, 24, stream);
  const uint64_t groups = job.blocks + job.leaf_groups + job.count_groups;
  digest_kernel<<<static_cast<uint32_t>(groups), kThreads, 0, stream>>>(job);
  uint32_t* from = job.nodes;
  for (uint32_t left = job.leaf_groups; left > 1;) {
    const uint32_t merged_groups = (left + kThreads - 1) / kThreads;
    uint32_t* to = merged_groups == 1 ? static_cast<uint32_t*>(out) : from + 8 * left;
    merge_kernel<<<merged_groups, kThreads, 0, stream>>>(from, left, to);
    from = to;
    left = merged_groups;
  }
  return static_cast<int>(cudaGetLastError());
}

#endif
