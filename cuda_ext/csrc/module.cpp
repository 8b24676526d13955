// Python bindings: pointers arrive as integers, checked by the Python faces before they get here.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

#if defined(FS_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "argument.h"
#include "levels.h"

#define FS_INSTRUCTION_SET(isa)                                                                                        \
  namespace fs {                                                                                                       \
  namespace isa {
FS_INSTRUCTION_SET(baseline)
#include "prototypes.inc"
}
}
#if defined(FS_X86)
FS_INSTRUCTION_SET(avx2)
#include "prototypes.inc"
}
}
FS_INSTRUCTION_SET(avx512)
#include "prototypes.inc"
}
}
FS_INSTRUCTION_SET(avx512bf16)
#include "prototypes.inc"
}
}
#endif
#if defined(FS_AMX)
FS_INSTRUCTION_SET(amx)
#include "prototypes.inc"
}
}
#endif

namespace nb = nanobind;

namespace {

template <class... A> auto face(void (*kernel)(A...)) {
  return [kernel](typename Argument<A>::python... arguments) {
    nb::gil_scoped_release release;
    kernel(Argument<A>::native(arguments)...);
  };
}

#if defined(FS_AMX)
// Whether this process may use the tiles of AMX: Linux gives them to those that ask.
bool has_tiles() {
  unsigned a, b, c, d;
  constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kBf16) || !(d & kTiles)) return false;
  constexpr long kAsk = 0x1023, kTileData = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
}
#endif

// The widest instruction set that this machine has, unless FIELDSCAPE_SIMD names a lower one.
std::string choose() {
#if defined(FS_X86)
  __builtin_cpu_init();
  const char* const names[] = {"baseline", "avx2", "avx512", "avx512bf16", "amx"};
  const char* wish = std::getenv("FIELDSCAPE_SIMD");
  const auto named = std::find(std::begin(names), std::end(names), std::string(wish ? wish : "amx"));
  const auto limit = std::min<ptrdiff_t>(named - std::begin(names), 4);
  const bool avx2 = limit >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && limit >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  const bool halves = avx512 && limit >= 3 && __builtin_cpu_supports("avx512bf16");
#if defined(FS_AMX)
  if (halves && limit >= 4 && has_tiles()) return "amx";
#endif
  return names[halves ? 3 : avx512 ? 2 : avx2 ? 1 : 0];
#else
  return "baseline";
#endif
}

} // namespace

#define FS_BIND(isa)                                                                                                   \
  m.def("hash_grid_forward", face(&fs::isa::hash_grid_forward));                                                       \
  m.def("hash_network_forward", face(&fs::isa::hash_network_forward));                                                 \
  m.def("hash_grid_backward", face(&fs::isa::hash_grid_backward));                                                     \
  m.def("hash_grid_backward_backward", face(&fs::isa::hash_grid_backward_backward));                                   \
  m.def("mlp_forward", face(&fs::isa::mlp_forward));                                                                   \
  m.def("mlp_backward", face(&fs::isa::mlp_backward));                                                                 \
  m.def("mlp_half_forward", face(&fs::isa::mlp_half_forward));                                                         \
  m.def("mlp_half_backward", face(&fs::isa::mlp_half_backward));                                                       \
  m.def("spherical_harmonics", face(&fs::isa::spherical_harmonics));                                                   \
  m.def("march", face(&fs::isa::march));                                                                               \
  m.def("march_pack", face(&fs::isa::march_pack));                                                                     \
  m.def("coarsen", face(&fs::isa::coarsen));                                                                           \
  m.def("visible", face(&fs::isa::visible));                                                                           \
  m.def("composite_forward", face(&fs::isa::composite_forward));                                                       \
  m.def("composite_backward", face(&fs::isa::composite_backward));                                                     \
  m.def("plane_lookup_forward", face(&fs::isa::plane_lookup_forward));                                                 \
  m.def("plane_lookup_backward", face(&fs::isa::plane_lookup_backward));                                               \
  m.def("plane_lookup_backward_backward", face(&fs::isa::plane_lookup_backward_backward));                             \
  m.def("product_lookup_forward", face(&fs::isa::product_lookup_forward));                                             \
  m.def("product_lookup_backward", face(&fs::isa::product_lookup_backward));                                           \
  m.def("sparse_lookup_forward", face(&fs::isa::sparse_lookup_forward));                                               \
  m.def("sparse_lookup_backward", face(&fs::isa::sparse_lookup_backward));                                             \
  m.def("sparse_lookup_backward_backward", face(&fs::isa::sparse_lookup_backward_backward));                           \
  m.def("render_loss", face(&fs::isa::render_loss));                                                                   \
  m.def("adam", face(&fs::isa::adam));

NB_MODULE(_native, m) {
  const std::string isa = choose();
  m.attr("simd") = isa;
#if defined(FS_AMX)
  if (isa == "amx") {
    FS_BIND(amx)
  } else
#endif
#if defined(FS_X86)
  if (isa == "avx512bf16") {
    FS_BIND(avx512bf16)
  } else if (isa == "avx512") {
    FS_BIND(avx512)
  } else if (isa == "avx2") {
    FS_BIND(avx2)
  } else
#endif
  {
    FS_BIND(baseline)
  }
}
