"""Starts tests/bench_peers.py again with a library of C before all others, which changes what a peer
hears of the processor; and with it keeps a package from AVX-512 on a processor that has it.

ONNX Runtime and OpenVINO ask the processor itself what it can do, with the instruction cpuid, and
have no switch that covers all that they do. So this program copies the package into a temporary
folder and replaces each cpuid of the copy's shared objects by ud2, which is as long and which no
processor carries out. A small library, preloaded, catches the signal SIGILL of that, asks the real
processor in the program's place, and takes everything that belongs to AVX-512 out of the answer.
What runs after that is the package's own code for AVX2. Linux on x86-64; needs cc and objdump.
"""
import atexit
import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

# Leaf 7: AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL in ebx; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ in
# ecx; 4VNNIW, 4FMAPS, VP2INTERSECT, FP16 and AMX in edx. Its subleaf 1: BF16, AMX and AVX10. Leaf
# 13: the registers that the operating system saves.
SOURCE = r'''
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>
static int answers;
int held_back(void) { return answers; }
static void answer(int number, siginfo_t *info, void *context) {
  greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)reg[REG_RIP];
  unsigned leaf = (unsigned)reg[REG_RAX], sub = (unsigned)reg[REG_RCX], a, b, c, d;
  (void)number;
  (void)info;
  if (at[0] != 0x0f || at[1] != 0x0b) {
    signal(SIGILL, SIG_DFL); /* some other instruction: it ends the program, as it would have */
    return;
  }
  __cpuid_count(leaf, sub, a, b, c, d);
  if (leaf == 7 && sub == 0) {
    b &= ~0xdc230000u;
    c &= ~0x00005842u;
    d &= ~0x03c0010cu;
  }
  if (leaf == 7 && sub == 1) {
    a &= ~0x00200020u;
    d &= ~0x00080000u;
  }
  if (leaf == 13 && sub == 0) a &= ~0x000600e0u;
  reg[REG_RAX] = a;
  reg[REG_RBX] = b;
  reg[REG_RCX] = c;
  reg[REG_RDX] = d;
  reg[REG_RIP] += 2;
  answers++;
}
__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {0};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, 0);
}
'''


def questions(path):
    """Where in the file its cpuid instructions are."""
    sections, places = [], []
    head = subprocess.run(['objdump', '-h', path], check=True, capture_output=True, text=True)
    for line in head.stdout.splitlines():
        word = line.split()
        if len(word) >= 7 and word[0].isdigit():
            sections.append([int(word[i], 16) for i in (3, 2, 5)])  # address, size, place
    with subprocess.Popen(['objdump', '-d', '--no-show-raw-insn', path], stdout=subprocess.PIPE,
                          text=True) as listing:
        for line in listing.stdout:
            if line.rstrip().endswith('cpuid'):
                address = int(line.split(':')[0], 16)
                places += [address - start + place for start, size, place in sections
                           if start <= address < start + size]
    if listing.returncode != 0:
        raise OSError('objdump cannot read ' + path)
    return places


def deafen(path):
    """Replaces the cpuid instructions of a shared object by ud2."""
    with open(path, 'rb') as file:
        code = bytearray(file.read())
    if b'\x0f\xa2' not in code:
        return
    for at in questions(path):
        if code[at:at + 2] != b'\x0f\xa2':
            raise OSError('%s: no cpuid at %d' % (path, at))
        code[at:at + 2] = b'\x0f\x0b'
    with open(path + '.new', 'wb') as file:
        file.write(code)
    os.replace(path + '.new', path)


def again(source, prepare=None):
    """Starts this program again with the library of this source preloaded. In that second one it
    returns '', in the first only if it cannot: then it returns why. What `prepare` puts into a
    folder of its own goes before all other Python packages, and away at the end."""
    folder = os.environ.pop('BENCH_PRELOADED', None)
    if folder:
        os.environ.pop('LD_PRELOAD', None)
        atexit.register(shutil.rmtree, folder, True)
        return ''
    folder = tempfile.mkdtemp()
    code, library = os.path.join(folder, 'before.c'), os.path.join(folder, 'before.so')
    try:
        with open(code, 'w') as file:
            file.write(source)
        subprocess.run(['cc', '-shared', '-fPIC', code, '-o', library], check=True,
                       capture_output=True)
        if prepare:
            prepare(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return str(error)
    path = [folder] + [p for p in [os.environ.get('PYTHONPATH')] if p]
    os.environ.update(BENCH_PRELOADED=folder, LD_PRELOAD=library,
                      PYTHONPATH=os.pathsep.join(path))
    os.execv(sys.executable, [sys.executable] + sys.argv)


def hold(package):
    """Holds the package back as told above; returns as `again` does."""
    def copy(folder):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise OSError('no module named ' + package)
        held = shutil.copytree(os.path.dirname(spec.origin), os.path.join(folder, package))
        for where, _, files in os.walk(held):
            for name in files:  # what drives other devices is never loaded, and long to read
                if '.so' in name and 'gpu' not in name and 'npu' not in name:
                    deafen(os.path.join(where, name))
    why = again(SOURCE, copy)
    return why and 'cannot be kept from AVX-512: ' + why


def check(package):
    """Fails unless the package has asked and been answered."""
    library = ctypes.CDLL(None)
    if not hasattr(library, 'held_back') or library.held_back() == 0:
        raise RuntimeError(package + ' was not kept from AVX-512')
