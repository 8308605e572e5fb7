/* Lesson 11: a pruned network in a C++ program                                         (see >>api)
 *
 * You learn how the library lives in C++11: it compiles as it is, and two small classes turn its
 * rules into C++'s own, a destructor for every _free and an exception for every status. The program
 * loads the network that the project ships, takes two layers out, fuses, saves the result to memory
 * and classifies with what comes back. It takes no time. From the project's folder it prints
 *
 *   dense   619940 parameters
 *   pruned  574372 parameters: attention 4 and activation 7 are gone
 *   the file has 12 blocks and gives the same class: yes
 *   the message as an exception: prune: the attention of block 4 is already removed
 *
 * Try next: a picture of your own in place of the grey one; bdpt_fit with pictures before fusing,
 * so that the network keeps most of its accuracy; a std::thread with a context and a network of
 * its own.
 */
#define BOUNDARYDPT_IMPLEMENTATION
#include "../boundarydpt.h"
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

/* One context for the program. check() turns a sentence into an exception. */
class Context {
public:
  Context() {
    ctx_ = bdpt_context();
    check(bdpt_init(&ctx_));
  }
  ~Context() { bdpt_finish(&ctx_); }
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;
  bdpt_context *get() { return &ctx_; }
  void check(bdpt_status status) {
    if (status == BDPT_OK) return;
    const std::runtime_error error(ctx_.message);
    bdpt_clear_error(&ctx_); /* the next call starts with a clean slate */
    throw error;
  }

private:
  bdpt_context ctx_;
};

/* A network owns its model; std::unique_ptr calls bdpt_model_free. */
class Network {
public:
  Network(Context &context, bdpt_model *model) : context_(context), model_(model, bdpt_model_free) {
    if (!model) context.check(context.get()->status);
  }
  void remove(bdpt_type type, int block) { context_.check(bdpt_prune(model_.get(), type, block)); }
  void fuse() { context_.check(bdpt_fuse_all(model_.get())); }
  size_t parameters() const {
    bdpt_cost_report cost;
    context_.check(bdpt_cost(context_.get(), &model_->config, &cost));
    return cost.params;
  }
  int blocks() const { return model_->config.depth; }

  std::vector<unsigned char> save() const {
    bdpt_bytes bytes = {nullptr, 0};
    context_.check(bdpt_model_build(model_.get(), &bytes));
    std::vector<unsigned char> copy(bytes.data, bytes.data + bytes.size);
    bdpt_bytes_free(context_.get(), &bytes);
    return copy;
  }

  /* The class of one normalised picture, [channels][side][side]. */
  int classify(const std::vector<bdpt_real> &picture) {
    const std::unique_ptr<bdpt_tape, void (*)(bdpt_tape *)> tape(
        bdpt_tape_create(context_.get(), BDPT_TAPE_COMPUTE), bdpt_tape_free);
    std::vector<bdpt_real> logits(static_cast<size_t>(model_->config.classes));
    if (!tape) context_.check(context_.get()->status);
    context_.check(bdpt_predict(model_.get(), tape.get(), 1, picture.data(), logits.data()));
    size_t best = 0;
    for (size_t k = 1; k < logits.size(); k++) best = logits[k] > logits[best] ? k : best;
    return static_cast<int>(best);
  }

private:
  Context &context_;
  std::unique_ptr<bdpt_model, void (*)(bdpt_model *)> model_;
};

static void lesson(const char *path) {
  Context context;
  Network network(context, bdpt_model_load(context.get(), path, nullptr));
  std::printf("dense   %u parameters\n", static_cast<unsigned>(network.parameters()));

  network.remove(BDPT_ATTENTION, 4);
  network.remove(BDPT_ACTIVATION, 7);
  network.fuse();
  std::printf("pruned  %u parameters: attention 4 and activation 7 are gone\n",
              static_cast<unsigned>(network.parameters()));

  const std::vector<unsigned char> file = network.save();
  Network again(context,
                bdpt_model_parse(context.get(), file.data(), file.size(), "lesson 11", nullptr));
  const std::vector<bdpt_real> grey(3 * 32 * 32, static_cast<bdpt_real>(0.5));
  std::printf("the file has %d blocks and gives the same class: %s\n", again.blocks(),
              again.classify(grey) == network.classify(grey) ? "yes" : "NO");

  try {
    again.remove(BDPT_ATTENTION, 4);
  } catch (const std::runtime_error &error) {
    std::printf("the message as an exception: %s\n", error.what());
  }
}

int main(int argc, char **argv) {
  try {
    lesson(argc > 1 ? argv[1] : "data/dense.safetensors");
  } catch (const std::exception &error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
  return 0;
}
