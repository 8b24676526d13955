// Python bindings of the CUDA launchers: pointers and streams arrive as integers, a cudaError_t goes back.
#include <cuda_runtime_api.h>
#include <nanobind/nanobind.h>

#include "argument.h"
#include "cuda/launchers.h"

namespace nb = nanobind;

namespace {

template <class... A> auto face(int (*launcher)(A...)) {
  return [launcher](typename Argument<A>::python... arguments) {
    nb::gil_scoped_release release;
    return launcher(Argument<A>::native(arguments)...);
  };
}

// Devices of this machine; 0 without a driver or without a GPU, which is no error.
int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError(); // a machine without a GPU must not leave an error for the next launch to find
  return 0;
}

} // namespace

NB_MODULE(_cuda, m) {
  m.attr("runtime_version") = CUDART_VERSION;
  m.attr("architectures") = FS_ARCHITECTURES;
  m.def("device_count", &device_count);
  m.def("error_text", [](int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); });
#define FS_BIND(name) m.def(#name, face(&fs::name));
  FS_CUDA_KERNELS(FS_BIND)
#undef FS_BIND
}
