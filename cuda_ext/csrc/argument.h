// How kernels' arguments come from Python: pointers as integers, everything else as it is.
#pragma once

#include <cstdint>

template <class T> struct Argument {
  using python = T;
  static T native(T value) { return value; }
};
template <class T> struct Argument<T*> {
  using python = uintptr_t;
  static T* native(uintptr_t value) { return reinterpret_cast<T*>(value); }
};
