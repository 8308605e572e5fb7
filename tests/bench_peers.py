"""Measures PyTorch, ONNX Runtime or OpenVINO on the networks of tests/bench.c, on request.

    python3 bench_peers.py torch|tuned|onnx|openvino [quick]

The first line out says who answers ("hello NAME") or why nobody can ("skipped: REASON"). Then one
line in, one line out:

    case infer|train IMAGE PATCH WIDTH DEPTH HEADS CLASSES BATCH THREADS    -> ready VARIANT...
    go VARIANT SECONDS                                                      -> times T T T ...
    memory                          -> memory PEAK BEFORE   (bytes; before any network was made)
    quit

A time is one forward pass, or one whole training step, in seconds: of the processor on one thread,
of the clock on the wall on several, as in bench.c. PyTorch as it is installed is taken at its
best: fused attention, inference mode, fused AdamW, eager and compiled (block by block, since twelve
equal blocks compile once; `quick` leaves the compiler out). `tuned` is the same PyTorch with MKL's
AVX-512 kernels, which MKL refuses to other processors than Intel's, where they run well: a library
of one function, preloaded, tells it otherwise. ONNX Runtime gets the same network as PyTorch exports it, into a
temporary folder; BENCH_ONNX=DIR takes DIR/dense_WIDTH.onnx instead, where that is there. OpenVINO reads
that file, fixes its batch, and computes in float32 with one stream, for the least latency. BENCH_SIMD=256
keeps the compiled PyTorch to vectors of so many bits; ONNX Runtime and OpenVINO, which have no switch
for all they do, are then kept from wider ones by bench_hold.py.
"""
import os
import platform
import resource
import sys
import tempfile
import time
import warnings

import bench_hold


CHANNEL = sys.stdout
PACKAGES = {'onnx': 'onnxruntime', 'openvino': 'openvino'}


def say(text):
    """The channel is what standard output was at the start; libraries print to stderr."""
    CHANNEL.write(' '.join(str(text).split()) + '\n')
    CHANNEL.flush()


def memory(key):
    """VmHWM (peak) or VmRSS (now) in bytes. ru_maxrss would count the parent at the fork."""
    try:
        with open('/proc/self/status') as status:
            for line in status:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def preload_for_mkl():
    """Starts this program again with mkl_serv_intel_cpu_true() = 1; returns as bench_hold.again."""
    try:
        with open('/proc/cpuinfo') as info:
            intel = 'GenuineIntel' in info.read()
    except OSError:
        intel = True
    if intel or platform.machine() != 'x86_64':
        return 'MKL needs no help on this processor'
    return bench_hold.again('int mkl_serv_intel_cpu_true(void) { return 1; }\n')


def network(torch, image, patch, width, depth, heads, classes):
    """DeiT as timm builds it: class token, positions, blocks before their norms, one head."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            b, n, _ = x.shape
            qkv = self.qkv(self.norm1(x)).view(b, n, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width)
            x = x + self.proj(y)
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    class DeiT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, width, patch, patch)
            self.cls = nn.Parameter(torch.zeros(1, 1, width))
            self.pos = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

        def forward(self, images):
            x = self.patch(images).flatten(2).transpose(1, 2)
            x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.pos
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x)[:, 0])

    torch.manual_seed(0)
    return DeiT()


def stopwatch(threads):
    return time.process_time if threads == 1 else time.perf_counter


def repeat(run, threads, seconds):
    """As in bench.c: one run to warm up unless it is long, then runs until the time is over."""
    clock, times = stopwatch(threads), []
    start = clock()
    run()
    first = clock() - start
    if first >= 0.3:
        times.append(first)
    while sum(times) < seconds and len(times) < 200 or not times:
        start = clock()
        run()
        times.append(clock() - start)
    return times


class Torch:
    """PyTorch, eager and compiled."""

    def __init__(self, quick):
        import torch
        torch.nn.functional.scaled_dot_product_attention  # PyTorch 2
        self.torch, self.quick = torch, quick
        if 'BENCH_SIMD' in os.environ:
            import torch._inductor.config
            torch._inductor.config.cpp.simdlen = int(os.environ['BENCH_SIMD'])
        self.name = 'PyTorch ' + torch.__version__

    def case(self, kind, image, patch, width, depth, heads, classes, batch, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        torch._dynamo.reset()
        self.threads, self.variants = threads, {}
        images = torch.randn(batch, 3, image, image)
        labels = torch.randint(0, classes, (batch,))
        for variant in ['eager'] if self.quick else ['eager', 'compile']:
            model = network(torch, image, patch, width, depth, heads, classes)
            try:
                if variant == 'compile':
                    for block in model.blocks:
                        block.compile()
                run = (self.inference(model.eval(), images) if kind == 'infer' else
                       self.training(model, images, labels))
                run()
                run()
            except Exception:
                if variant == 'eager':
                    raise
                continue
            self.variants[variant] = run
        return self.variants

    def inference(self, model, images):
        def run():
            with self.torch.inference_mode():
                model(images)
        return run

    def training(self, model, images, labels):
        torch = self.torch
        adamw = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.05, fused=True)

        def run():
            adamw.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            adamw.step()
        return run


class Exported:
    """A network as PyTorch exports it."""

    def __init__(self):
        import numpy
        import torch
        self.numpy, self.torch = numpy, torch
        self.folder = tempfile.TemporaryDirectory()

    def file(self, image, patch, width, depth, heads, classes):
        given = os.path.join(os.environ.get('BENCH_ONNX', ''), 'dense_%d.onnx' % width)
        if os.path.exists(given):
            return given
        path = os.path.join(self.folder.name, '%d_%d_%d.onnx' % (image, width, depth))
        if not os.path.exists(path):
            model = network(self.torch, image, patch, width, depth, heads, classes).eval()
            self.torch.onnx.export(model, (self.torch.randn(2, 3, image, image),), path,
                                   opset_version=17, dynamo=False, input_names=['images'],
                                   dynamic_axes={'images': {0: 'batch'}})
        return path

    def images(self, batch, image):
        images = self.numpy.random.default_rng(0).standard_normal((batch, 3, image, image))
        return images.astype(self.numpy.float32)

    def case(self, kind, image, patch, width, depth, heads, classes, batch, threads):
        if kind != 'infer':
            raise RuntimeError(self.name + ' does not train here')
        path = self.file(image, patch, width, depth, heads, classes)
        self.threads = threads
        self.variants = {self.variant: self.inference(path, self.images(batch, image), threads)}
        self.variants[self.variant]()
        if wider():
            bench_hold.check(self.name)
        return self.variants


def wider():
    """Whether a package is to be held back and the processor has what it is to be kept from."""
    if 'BENCH_SIMD' not in os.environ:
        return False
    try:
        with open('/proc/cpuinfo') as info:
            return 'avx512f' in info.read()
    except OSError:
        return False


class Onnx(Exported):
    """ONNX Runtime, its processor provider."""

    def __init__(self, quick):
        import onnxruntime
        super().__init__()
        self.runtime, self.variant = onnxruntime, 'onnx'
        self.name = 'ONNX Runtime ' + onnxruntime.__version__

    def inference(self, path, images, threads):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = self.runtime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        feed = {session.get_inputs()[0].name: images}
        return lambda: session.run(None, feed)


class OpenVino(Exported):
    """OpenVINO on the processor, float32, one stream."""

    def __init__(self, quick):
        import openvino
        super().__init__()
        self.core, self.variant = openvino.Core(), 'openvino'
        self.name = 'OpenVINO ' + openvino.__version__.split('-')[0]

    def inference(self, path, images, threads):
        model = self.core.read_model(path)
        model.reshape(list(images.shape))
        compiled = self.core.compile_model(model, 'CPU', {
            'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1, 'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': 'f32'})
        request = compiled.create_infer_request()
        return lambda: request.infer({0: images})


def serve(peer, before):
    for line in sys.stdin:
        word = line.split()
        if not word or word[0] == 'quit':
            break
        try:
            if word[0] == 'case':
                say('ready ' + ' '.join(peer.case(word[1], *map(int, word[2:10]))))
            elif word[0] == 'go':
                times = repeat(peer.variants[word[1]], peer.threads, float(word[2]))
                say('times ' + ' '.join('%.9f' % t for t in times))
            elif word[0] == 'memory':
                say('memory %d %d' % (memory('VmHWM'), before))
        except Exception as error:
            say('skipped: %s' % str(error)[:200])


def main():
    global CHANNEL
    if sys.argv[1] in PACKAGES:  # PyTorch exports; its OpenMP must not bind the threads of others
        os.environ.pop('OMP_PROC_BIND', None)
        no_help = bench_hold.hold(PACKAGES[sys.argv[1]]) if wider() else ''
    else:
        no_help = preload_for_mkl() if sys.argv[1] == 'tuned' else ''
    CHANNEL = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    warnings.simplefilter('ignore')
    if hasattr(os, 'sched_setaffinity'):  # a bound parent must not bind us
        os.sched_setaffinity(0, range(os.cpu_count()))
    try:
        if no_help:
            raise RuntimeError(no_help)
        peer = {'torch': Torch, 'tuned': Torch, 'onnx': Onnx,
                'openvino': OpenVino}[sys.argv[1]]('quick' in sys.argv[2:])
    except Exception as error:
        say('skipped: %s' % error)
        return
    say('hello ' + peer.name + (', MKL with its AVX-512 kernels' if sys.argv[1] == 'tuned' else ''))
    serve(peer, memory('VmRSS'))


if __name__ == '__main__':
    main()
