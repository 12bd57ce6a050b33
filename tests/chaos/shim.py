"""A results root that does what real ones do at their worst, while a file says so: a library loaded before libc.

    build(folder) -> environment(library, root, folder) of a launch -> what touches `stale` or `hold`

While `stale` is there, what lies below the root can be neither opened, listed, looked at nor renamed: ESTALE, as of a
file server that has restarted.  While `hold` is there, whoever is about to commit takes it away and stops (SIGSTOP),
one instruction before its part appears; it commits as soon as it is continued.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int below(const char *path) {
    const char *root = getenv("CHAOS_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}
static int there(const char *name) {
    const char *path = getenv(name);
    return path && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}
static int stale(const char *path) {
    int before = errno;
    if (!below(path) || !there("CHAOS_STALE")) { errno = before; return 0; }
    errno = ESTALE;
    return 1;
}
static void hold(const char *path) {
    size_t length = strlen(path);
    if (!below(path) || !strstr(path, "/trials/") || length < 8 || strcmp(path + length - 8, ".parquet")) return;
    const char *file = getenv("CHAOS_HOLD");
    if (file && syscall(SYS_unlinkat, AT_FDCWD, file, 0) == 0) kill(getpid(), SIGSTOP);
}
#define OPEN(NAME) int NAME(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
    return stale(path) ? -1 : syscall(SYS_openat, AT_FDCWD, path, flags, mode); }
#define OPENAT(NAME) int NAME(int folder, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
    return stale(path) ? -1 : syscall(SYS_openat, folder, path, flags, mode); }
#define STAT(NAME, KIND) int NAME(const char *path, struct KIND *about) { \
    return stale(path) ? -1 : ((int (*)(const char *, struct KIND *))dlsym(RTLD_NEXT, #NAME))(path, about); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
DIR *opendir(const char *path) {
    return stale(path) ? NULL : ((DIR *(*)(const char *))dlsym(RTLD_NEXT, "opendir"))(path);
}
int rename(const char *from, const char *to) {
    if (stale(to)) return -1;
    hold(to);
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}
"""


def build(folder: Path) -> Path:
    """The library, built in `folder`."""
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    (folder / "shim.c").write_text(_SOURCE)
    command = ["gcc", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "shim.so"


def environment(library: Path, root: Path, folder: Path) -> dict[str, str]:
    """For a launch into `root`; `stale`, `hold` and `broken` are files in `folder`."""
    return {
        "LD_PRELOAD": str(library), "CHAOS_ROOT": f"{root}/", "CHAOS_STALE": str(folder / "stale"),
        "CHAOS_HOLD": str(folder / "hold"), "CHAOS_BROKEN": str(folder / "broken"),
    }  # fmt: skip
