# boundarydpt: a header, some programs, some tests. `make help` explains the targets.
#
# CC, CXX, CFLAGS and NATIVE may be set from outside. Everything that is made goes to build/.

# BSD make stops at the next line and says why; for GNU make it is a rule of which no one asks.
.error GNU make is needed here: gmake
.DEFAULT_GOAL := all
CC      ?= cc
CXX     ?= c++
CFLAGS  ?= -O2
WARN    := -Wall -Wextra -Wpedantic -Wconversion -Wshadow
OPENMP  := $(shell printf 'int main(void){return 0;}\n' | $(CC) -fopenmp -include omp.h -x c - \
             -o /dev/null 2>/dev/null && echo -fopenmp)
FLAGS    = -std=c99 $(WARN) $(CFLAGS) $(OPENMP)
ifeq ($(OS),Windows_NT)
FLAGS   += -D__USE_MINGW_ANSI_STDIO=1 -Wno-float-conversion # its isfinite converts to float
endif
PREFIX  ?= /usr/local
LESSON  := examples/compass.h
PLUS    := examples/plus/boundarydpt_plus.h
STUDIES := examples/plus/boundarydpt_studies.h
TOOL    := build/boundarydpt
MODULES := $(filter-out %/library.c %/boundarydpt.c $(wildcard examples/tool/page/*.c), \
             $(wildcard examples/tool/*.c examples/tool/*/*.c))
OBJECTS := $(MODULES:examples/tool/%.c=build/tool/%.o)
LESSONS := $(patsubst examples/%.c,build/%,$(filter-out examples/weave.c,$(wildcard examples/*.c)))
TESTS   := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
# Tests of the library run a second time in double precision, where the bounds are tight.
TOOLED  := $(addprefix test_,checkpoint generate images masks onnx records report reproduce \
             standins)
DOUBLE  := $(filter-out $(TOOLED) test_book test_calls,$(TESTS))
# These bring the implementation with them, to look inside; the others are linked with it.
WHOLE   := $(patsubst tests/%.c,%,$(shell grep -l 'define BOUNDARYDPT_IMPL' tests/test_*.c))
LINKED  := $(filter-out $(WHOLE),$(TESTS))
FLOATS  := $(addprefix build/,$(TESTS))
DOUBLES := $(addprefix build/,$(addsuffix _double,$(DOUBLE)))

# As many compilers at once as there are processors, unless -j was given.
ifeq ($(MAKELEVEL)$(filter -j% --jobs%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2> /dev/null || echo 2)
endif

.PHONY: all mpi run reproduce test bench report page page-if-possible book lint sanitize matrix \
        cross fuzz analyse faults faults-if-possible killtest mutate trust coverage \
        data install help clean
.DELETE_ON_ERROR:

all: $(TOOL) $(LESSONS)
ifeq ($(OPENMP),)
	@echo 'no OpenMP: one thread. On macOS: brew install libomp; make OPENMP="-Xclang -fopenmp' \
	  '-I$$(brew --prefix libomp)/include -L$$(brew --prefix libomp)/lib -lomp"'
endif

build:
	@mkdir -p build

# The library is compiled once in each precision, and every module of the tool once; the compiler
# itself writes down what each of them includes (*.dep).
COMPILE  = @mkdir -p $(@D) && echo "$(CC) $< -o $@" && $(CC) $(FLAGS) -MMD -MP -MF $@.dep
build/library.o: examples/tool/library.c
	$(COMPILE) -c $< -o $@
build/library_double.o: examples/tool/library.c
	$(COMPILE) -DBDPT_REAL=double -c $< -o $@
build/tool/%.o: examples/tool/%.c
	$(COMPILE) -c $< -o $@
build/tool.a: $(OBJECTS)
	@rm -f $@ && $(AR) rcs $@ $^
$(TOOL): build/tool/boundarydpt.o build/tool.a build/library.o
	$(CC) $(FLAGS) $^ -o $@ -lm
-include $(wildcard build/*.dep build/faults/*.dep build/tool/*.dep build/tool/*/*.dep \
           build/sane/*.dep build/sane/*/*.dep)

# Programs that bring the implementation themselves keep it static: the compiler then translates
# only what they use. That is still five seconds each, so three of the lessons do so here, one of
# them in double; the others are told that it is there already and get the library's object.
ALONE := $(addprefix build/,embed 06_map 08_own_operation)
THERE := -DBDPTI_IMPLEMENTED_1 -DBDPTI_IMPLEMENTED_2 -DBDPTP_IMPLEMENTED -DBDPTS_IMPLEMENTED
$(ALONE): build/%: examples/%.c $(LESSON) $(PLUS) $(STUDIES) boundarydpt.h | build
	$(CC) $(FLAGS) -DBDPT_STATIC $< -o $@ -lm
$(filter-out $(ALONE),$(LESSONS)): build/%: examples/%.c build/library.o $(LESSON)
	$(CC) $(FLAGS) $(THERE) $< build/library.o -o $@ -lm

build/11_cplusplus: examples/11_cplusplus.cc boundarydpt.h | build
	$(CXX) -std=c++11 $(WARN) $(CFLAGS) $(OPENMP) -DBDPT_STATIC $< -o $@ -lm

# Tests of the tool are linked with its modules too.
$(TOOLED:%=build/%): build/tool.a
$(LINKED:%=build/%): build/library.o
$(LINKED:%=build/%_double): build/library_double.o
$(WHOLE:%=build/%) $(WHOLE:%=build/%_double): FLAGS += -DBDPT_STATIC
$(FLOATS): build/%: tests/%.c
	$(COMPILE) $< $(filter %.a %.o,$^) -o $@ -lm
$(DOUBLES): build/%_double: tests/%.c
	$(COMPILE) -DBDPT_REAL=double $< $(filter %.o,$^) -o $@ -lm

# The whole method on one page. DATA=dir (CIFAR-100 binary) and MODEL=file.safetensors choose other
# inputs; ARGS="--budget 8" passes anything else (build/boundarydpt run --help).
run: $(TOOL)
	@$(TOOL) run $(if $(DATA),--data $(DATA)) $(if $(MODEL),--model $(MODEL)) $(ARGS)

# The study of the paper's claims; about six hours on two cores, in parts, resumable. DATA, MODEL
# and ARGS as above (ARGS="--list" prints what each part costs, ARGS="--part 3" does only that).
reproduce: $(TOOL)
	@$(TOOL) reproduce $(if $(DATA),--data $(DATA)) $(if $(MODEL),--model $(MODEL)) $(ARGS)

# The tool on several processes: mpirun -n 4 build/boundarydpt-mpi train ... (examples/mpi)
MPICC ?= mpicc
mpi: build/tool.a build/library.o
	@command -v $(MPICC) > /dev/null || { echo "mpi: no $(MPICC); Debian: apt-get install \
	  libopenmpi-dev openmpi-bin (or libmpich-dev mpich)"; exit 1; }
	$(MPICC) -std=c99 -Wall -Wextra $(CFLAGS) $(OPENMP) examples/mpi/boundarydpt_mpi.c $^ \
	  -o build/boundarydpt-mpi -lm

# Runs every test program; the last line counts all checks. A program that dies counts as failed.
test: $(FLOATS) $(DOUBLES) $(TOOL) $(LESSONS) page-if-possible faults-if-possible
	@FIRST=tests/test_reproduce.sh sh tests/run_tests tests/test_cli.sh tests/test_examples.sh \
	  tests/test_readme.sh tests/test_reproduce.sh tests/test_faults.sh tests/test_book.sh \
	  tests/test_mpi.sh tests/test_page.sh $(FLOATS) $(DOUBLES)

# Speed and memory against OpenBLAS, PyTorch and ONNX Runtime where they are installed. A second
# program shows what flags are worth; a compiler without -march=native does without it.
BENCH := tests/bench.c $(wildcard tests/bench_*.h examples/plus/*.h) boundarydpt.h
build/bench: $(BENCH) | build
	$(CC) $(FLAGS) $< -o $@ -lm -ldl
build/bench_native: $(BENCH) | build
	-$(CC) -std=c99 -w -O3 -march=native $(OPENMP) $< -o $@ -lm -ldl
bench: build/bench build/bench_native
	@OMP_PROC_BIND=$${OMP_PROC_BIND:-true} build/bench $(ARGS)

# Draws the page again: the study if there is one, else the last run, else the shipped numbers.
RECORD ?= $(firstword $(wildcard build/reproduce/reproduce.jsonl build/run/run.jsonl \
            data/reproduce.jsonl) build/run/run.jsonl)
report: $(TOOL)
	$(TOOL) report $(RECORD) build/report.html

# The page: the header in the browser, one file (examples/tool/page/README.md). It needs a clang for
# WebAssembly, and says what to install where there is none. CLANG names another one.
CLANG ?= clang
PAGE  := examples/tool/page
WASM   = $(CLANG) --target=wasm32-wasi -std=c99 $(WARN) -O3 -mexec-model=reactor \
           -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=1048576
PICTURES := $(wildcard examples/tool/pictures/*.[ch])
build/page:
	@mkdir -p build/page/images
build/page/simd.wasm build/page/scalar.wasm: $(PAGE)/glue.c $(PICTURES) $(PLUS) $(STUDIES) \
    boundarydpt.h | build/page
	@sh $(PAGE)/toolchain $(CLANG)
	$(WASM) $(if $(findstring simd,$@),-msimd128) $< -o $@
build/page/bundle: $(PAGE)/bundle.c build/tool.a build/library.o | build/page
	$(CC) $(FLAGS) $^ -o $@ -lm
INSIDE := $(addprefix build/page/,simd.wasm scalar.wasm) data/dense.safetensors \
            data/reproduce.jsonl tests/page_answers.txt
build/page.html: build/page/bundle $(INSIDE) $(wildcard $(PAGE)/*.html $(PAGE)/*.css $(PAGE)/*.js)
	build/page/bundle $@ $(PAGE) $(INSIDE) build/page/images
page: build/page.html
page-if-possible: build/tool.a build/library.o # which no second make builds at the same time
	@if sh $(PAGE)/toolchain $(CLANG) 2> /dev/null; then $(MAKE) --no-print-directory page; fi

build/weave: examples/weave.c $(wildcard examples/weave/*.h) | build
	$(CC) $(FLAGS) $< -o $@
book: build/weave
	@build/weave $(PLUS) build/boundarydpt_plus.html examples/weave/companion.txt boundarydpt.h \
	  $(STUDIES)
	@build/weave $(STUDIES) build/boundarydpt_studies.html examples/weave/companion.txt \
	  boundarydpt.h $(PLUS)
	@build/weave boundarydpt.h build/boundarydpt.html PAPER_NOTES.md examples/weave/companion.txt \
	  $(PLUS) $(STUDIES)

lint:
	@sh tests/lint

# The tests again with the address and undefined-behaviour sanitizers; slower. Library and tool come
# from one archive, of which a test that brings the library itself takes no second one. test_book
# is left out: it compares the sizes of arenas, and fences change them.
SANE := $(CC) -std=c99 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all $(OPENMP) \
          -include tests/fences.h
build/sane/%.o: examples/tool/%.c
	@mkdir -p $(@D) && $(SANE) -MMD -MP -MF $@.dep -c $< -o $@
build/sane.a: build/sane/library.o $(MODULES:examples/tool/%.c=build/sane/%.o)
	@rm -f $@ && $(AR) rcs $@ $^
CHECKED := $(filter-out test_book,$(TESTS))
sanitize: build/sane.a
	@for t in $(CHECKED); do echo "  sanitize $$t"; \
	  $(SANE) tests/$$t.c build/sane.a -o build/$$t.sanitized -lm || exit 1; done
	@ASAN_OPTIONS=allocator_may_return_null=1 \
	  sh tests/run_tests $(addprefix build/,$(addsuffix .sanitized,$(CHECKED)))

# Every language, compiler and configuration that the header promises, as syntax and warnings.
matrix:
	@sh tests/matrix

# The tests for other processors under qemu (which tries one place in forty of some long series,
# TEST_EVERY=40), for Windows under wine, by node or wasmtime, by tcc.
cross: $(TOOL)
	@sh tests/cross $(TARGETS)

# What the tool and the library leave behind when system calls or allocations fail, and when they
# are killed (tests/faults/inject.c). EVERY=20 tries one point in twenty; CASES names some cases.
comma    := ,
FAULTS   := build/faults/inject build/faults/boundarydpt build/faults/calls
WRAP     := -static $(addprefix -Wl$(comma)--wrap=,main malloc calloc realloc clock_gettime clock)
LINK      = $(CC) $(FLAGS) $(WRAP) $^ -o $@ -lm 2> $@.log || { cat $@.log; exit 1; }
EVERY    ?= 1
KILLS    ?= 400
build/faults/%: tests/faults/%.c
	$(COMPILE) $< -o $@
build/faults/%.o: tests/faults/%.c
	$(COMPILE) -c $< -o $@
build/faults/boundarydpt: build/tool/boundarydpt.o build/tool.a build/library.o build/faults/oom.o
	@$(LINK)
build/faults/calls: build/faults/calls.o build/library.o build/faults/oom.o
	@$(LINK)
OURS := $(shell printf '\n__linux__ __x86_64__\n' | $(CC) -E -P - 2> /dev/null | grep '^1 1$$')
faults-if-possible: $(if $(OURS),$(FAULTS))
faults: $(FAULTS)
	@sh tests/faults/run io $(EVERY) $(CASES)
	@sh tests/faults/run oom $(EVERY) $(CASES)
killtest: $(FAULTS)
	@sh tests/faults/run kill $(EVERY) $(CASES)
	@sh tests/faults/run random $(KILLS) $(CASES)
	@sh tests/faults/run beside $(KILLS) $(CASES)

# The loaders of files against invented ones; and how much of each the committed corpus reaches.
RUNS ?= 2000000
fuzz:
	@sh tests/fuzz $(RUNS)
# What three static analysers say.
analyse:
	@sh tests/analyse
# Which lines and branches the tests run, and how much of each loader the committed corpus reaches.
coverage:
	@python3 tests/cover.py
	@sh tests/coverage
mutate:
	@python3 tests/mutate.py $(ARGS)
# Every figure of tests/TRUST.md anew.
trust: $(TOOL) build/test_train
	@sh tests/trust

# Downloads CIFAR-100 and a pretrained DeiT-Tiny into data/, checked by their published digests.
data:
	sh data/fetch

# The manual page and the shell's completion come from --help.
SHARE = $(DESTDIR)$(PREFIX)/share
install: $(TOOL)
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(SHARE)/man/man1 $(SHARE)/bash-completion/completions
	cp $(TOOL) $(DESTDIR)$(PREFIX)/bin/
	mkdir -p $(SHARE)/boundarydpt && cp data/records.json $(SHARE)/boundarydpt/
	cp boundarydpt.h $(PLUS) $(STUDIES) $(DESTDIR)$(PREFIX)/include/
	sh examples/tool/install pc $(TOOL) $(PREFIX) > $(DESTDIR)$(PREFIX)/lib/pkgconfig/boundarydpt.pc
	sh examples/tool/install man $(TOOL) > $(SHARE)/man/man1/boundarydpt.1
	sh examples/tool/install bash $(TOOL) > $(SHARE)/bash-completion/completions/boundarydpt

help:
	@echo "make            the tool (build/boundarydpt) and the lessons"
	@echo "make run        the whole method on one page, no download"
	@echo "                DATA=dir MODEL=file.safetensors: the same on CIFAR-100 with a real DeiT"
	@echo "make reproduce  the study: every claim measured, resumable, six hours on two cores"
	@echo "                DATA=dir MODEL=file.safetensors ARGS=--list"
	@echo "make test       every test; the last line is 'N passed, N failed'"
	@echo "make bench      speed and memory, against what is installed; ARGS=--help explains"
	@echo "make report     draws build/report.html again, from RECORD=file or what there is"
	@echo "make page       a vision transformer to take apart in the browser: build/page.html"
	@echo "make book       the header as a book, build/boundarydpt.html; a C compiler is enough"
	@echo "make lint       size, prose, widths, tags and forbidden calls of the header"
	@echo "make matrix     the header in C99 to C++20, gcc and clang, float and double, no warnings"
	@echo "make cross      the tests on ARM, RISC-V, POWER, s390x, i686, Windows, emulated; by tcc"
	@echo "                under qemu one place in forty of long series; TEST_EVERY=1 tries all"
	@echo "make sanitize   the tests under the address and undefined-behaviour sanitizers"
	@echo "make fuzz       RUNS=2000000 of each loader under libFuzzer and the sanitizers (clang)"
	@echo "make analyse    clang-tidy, cppcheck and gcc's analyser, where they are installed"
	@echo "make faults     every system call and allocation of the tool fails once (Linux, x86-64)"
	@echo "make killtest   the tool killed at every system call, at random, and two beside each other"
	@echo "make mutate     would the tests notice? 212 mistakes in the header, one at a time"
	@echo "make coverage   lines and branches that the tests run; what the fuzz corpus reaches (clang)"
	@echo "make trust      every figure of tests/TRUST.md; hours"
	@echo "make data       downloads CIFAR-100 and DeiT-Tiny with curl, checked"
	@echo "make mpi        the tool on several processes: build/boundarydpt-mpi (needs mpicc)"
	@echo "make install    tool, headers, .pc, manual, completion to PREFIX ($(PREFIX))"
	@echo "make clean      removes build/"

clean:
	rm -rf build
