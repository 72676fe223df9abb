// The arithmetic of digest.cu without a GPU: its functions in loops instead of threads.

#define EMULATED
#define DEVICE static inline
#define CONSTANT static
#include "digest.cu"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

using Node = std::array<uint32_t, 8>;

static std::vector<Node> merged_group(std::vector<Node> nodes, bool whole) {
  while (nodes.size() > 1) {
    std::vector<Node> above;
    for (size_t i = 0; i + 1 < nodes.size(); i += 2) {
      Node node;
      merge(node.data(), nodes[i].data(), nodes[i + 1].data(), whole && nodes.size() == 2);
      above.push_back(node);
    }
    if (nodes.size() % 2) above.push_back(nodes.back());
    nodes = above;
  }
  return nodes;
}

extern "C" void content(const uint8_t* data, uint64_t size, const char* header, uint32_t header_size,
                        uint8_t* out) {
  Message message{};
  std::memcpy(message.header, header, header_size);
  message.header_bytes = header_size;
  message.data = data;
  message.data_bytes = size;
  const uint64_t chunks = (header_size + size + 1023) / 1024;
  std::vector<Node> nodes(chunks);
  for (uint64_t i = 0; i < chunks; ++i) hash_chunk(nodes[i].data(), message, i, chunks == 1);
  while (nodes.size() > 1) {
    std::vector<Node> above;
    const bool whole = nodes.size() <= kThreads;
    for (size_t first = 0; first < nodes.size(); first += kThreads) {
      const auto end = nodes.begin() + std::min(nodes.size(), first + kThreads);
      above.push_back(merged_group({nodes.begin() + first, end}, whole)[0]);
    }
    nodes = above;
  }
  std::memcpy(out, nodes[0].data(), 32);
}

extern "C" void block(const uint8_t* data, uint64_t size, uint8_t* out) {
  uint64_t sums[8];
  std::copy(kStart, kStart + 8, sums);
  const auto add = [&](const uint8_t* stripe, const auto& secret) {
    uint64_t values[8];
    for (int lane = 0; lane < 8; ++lane) values[lane] = load64(stripe + 8 * lane);
    for (int lane = 0; lane < 8; ++lane) {
      sums[lane] += product(values[lane] ^ secret(lane)) + values[lane ^ 1];
    }
  };
  const uint64_t stripes = (size - 1) / 64;
  for (uint64_t stripe = 0; stripe < stripes; ++stripe) {
    add(data + 64 * stripe, [&](int lane) { return kSecret[stripe % 16 + lane]; });
    if (stripe % 16 == 15) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] = scrambled(sums[lane], lane);
    }
  }
  add(data + size - 64, [](int lane) { return secret_at(121 + 8 * lane); });
  finish_xxh3(out, sums, size);
}
