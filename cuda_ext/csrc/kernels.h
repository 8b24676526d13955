// The CPU kernels of every instruction set that this build carries.
#pragma once
#include <cstddef>
#include <cstdint>

#include "levels.h"

#if defined(FS_ISA)
namespace fs {
namespace FS_ISA {
#include "prototypes.inc"
}
} // namespace fs
#endif
