/* The study's recipe files and the baselines for choosing layers. The study as a whole is run by
 * tests/test_reproduce.sh. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "../boundarydpt.h"
#include "test.h"

#include "../examples/tool/cli/json.h"
#include "../examples/tool/record.h"
#include "../examples/tool/report/report.h"
#include "../examples/tool/report/sections.h"
#include "../examples/tool/study/baselines.h"
#include "../examples/tool/study/study.h"

#define PLACE "build/test_reproduce.recipe"

static bdpt_context ctx;
static study one; /* large */

/* Reads the shipped file with a line more, or with one line replaced; returns what reading it
 * says. */
static const char *reading(const char *file, const char *without, const char *more) {
  bdpt_bytes bytes;
  size_t used = 0;
  char *at, *text, *end;
  bdpt_clear_error(&ctx);
  if (bdpt_file_read(&ctx, file, &bytes) != BDPT_OK) return "no file";
  text = (char *)malloc(bytes.size + 200);
  for (at = (char *)bytes.data; *at; at = end) {
    end = at + strcspn(at, "\n");
    if (*end) end++;
    if (without && strncmp(at, without, strlen(without)) == 0) continue;
    memcpy(text + used, at, (size_t)(end - at));
    used += (size_t)(end - at);
  }
  used += (size_t)sprintf(text + used, "%s", more);
  bdpt_bytes_free(&ctx, &bytes);
  bdpt_file_write(&ctx, PLACE, text, used);
  free(text);
  memset(&one, 0, sizeof one);
  study_read(&one, &ctx, PLACE);
  bdpt_bytes_free(&ctx, &one.text);
  remove(PLACE);
  return ctx.message;
}

TEST(recipes_are_read_and_refused) {
  static const char *const files[] = {"data/reproduce.recipe", "data/quick.recipe"};
  int i;
  for (i = 0; i < 2; i++) {
    CHECK(reading(files[i], NULL, "")[0] == 0);
    CHECK_HAS(reading(files[i], NULL, "speed 3\n"), "there is no 'speed'");
    CHECK_HAS(reading(files[i], NULL, "batch 3\n"), "'batch' stands in line ");
    CHECK_HAS(reading(files[i], "clip ", ""), "no 'clip'");
    CHECK_HAS(reading(files[i], "clip ", "clip\n"), "'clip' wants one value");
    CHECK_HAS(reading(files[i], "clip ", "clip 1 2\n"), "not also 2");
    CHECK_HAS(reading(files[i], "clip ", "clip one\n"),
              "'clip' wants a number, 0 or more, got 'one'");
    CHECK_HAS(reading(files[i], "which.marks ", "which.marks 3,1\n"), "rising numbers");
    CHECK_HAS(reading(files[i], "which.marks ", "which.marks 0\n"), "rising numbers");
    CHECK_HAS(reading(files[i], "which.remove ", "which.remove 4\n"), "two numbers of layers");
    CHECK_HAS(reading(files[i], "start.best ", "start.best fast\n"), "skip-fit");
    CHECK_HAS(reading(files[i], "seeds ", "seeds 0\n"), "1 or more");
    CHECK(reading(files[i], "clip ", "clip = 2 # and a comment")[0] == 0);
    CHECK(one.recipe.clip == 2);
  }
  CHECK(reading("data/reproduce.recipe", NULL, "")[0] == 0);
  CHECK(one.recipe.image == 64 && one.recipe.held == 5000 && one.recipe.epoch == 5000);
  CHECK(one.recipe.start_marks.count == 3 && one.recipe.start_marks.layer[2] == 10);
  CHECK(one.recipe.speed[2].layer[1] == 5 && one.recipe.distill_tau == 1);
}

/* Every name must change the text that tells one recipe from another, but for those that
 * may change. */
TEST(every_value_counts) {
  cli_option keys[STUDY_KEYS];
  char before[4000], after[4000];
  int count, k;
  CHECK(reading("data/reproduce.recipe", NULL, "")[0] == 0);
  one.recipe.start_best = one.recipe.distill_start = "paper";
  count = study_keys(&one.recipe, keys);
  for (k = 0; k < count * count; k++) /* each has a place of its own */
    CHECK(k / count == k % count || keys[k / count].value != keys[k % count].value);
  for (k = 0; k < count; k++) {
    study_values(&one.recipe, before, sizeof before);
    if (keys[k].kind == CLI_INT) ++*(int *)keys[k].value;
    if (keys[k].kind == CLI_SIZE) ++*(size_t *)keys[k].value;
    if (keys[k].kind == CLI_REAL || keys[k].kind == CLI_SAID || keys[k].kind == CLI_REAL_UP)
      *(double *)keys[k].value += 0.25;
    if (keys[k].kind == CLI_INT_1) ++*(int *)keys[k].value;
    if (keys[k].kind == CLI_SIZE_1) ++*(size_t *)keys[k].value;
    if (keys[k].kind == CLI_TEXT) *(const char **)keys[k].value = "skip";
    if (keys[k].kind == CLI_LAYERS) ++((cli_layers *)keys[k].value)->layer[0];
    study_values(&one.recipe, after, sizeof after);
    if (!test_check((strcmp(before, after) != 0) == !study_free_value(keys[k].name),
                    "the value counts", __FILE__, __LINE__)) printf("  %s\n", keys[k].name);
  }
  CHECK(strlen(after) < sizeof after - 100);
}

/* Three blocks of width 16 for images of 8 x 8; data of five classes. */
static bdpt_dataset data;
static unsigned char pixels[40 * 3 * 64];
static unsigned short labels[40];

static bdpt_model *make_model(void) {
  bdpt_config c;
  bdpt_model *m;
  size_t k;
  int i;
  memset(&c, 0, sizeof c);
  c.image = 8; c.patch = 4; c.width = 16; c.depth = 3; c.heads = 2; c.mlp = 24; c.classes = 5;
  m = bdpt_model_create(&ctx, &c, 3);
  for (i = 0; i < m->slots; i++)
    for (k = 0; m->param[i].data && m->param[i].ndim > 1 && k < m->param[i].count; k++)
      m->param[i].data[k] *= (bdpt_real)10;
  return m;
}

static void make_data(bdpt_subset *all) {
  size_t i;
  for (i = 0; i < sizeof pixels; i++) pixels[i] = (unsigned char)((i * 2654435761u) >> 13);
  for (i = 0; i < 40; i++) labels[i] = (unsigned short)(i % 5);
  data.count = 40; data.classes = 5; data.height = data.width = 8;
  data.pixels = pixels; data.label = labels;
  bdpt_subset_all(&ctx, &data, all);
}

static void fill(bdpt_model *m, int slot, double value) {
  size_t k;
  for (k = 0; k < m->param[slot].count; k++) m->param[slot].data[k] = (bdpt_real)value;
}

/* Block 1 is rigged: its attention adds nothing, and its hidden features are far to the right,
 * where GELU(z) = z. Both must be found to be what they are. */
TEST(baselines_find_idle_layers) {
  bdpt_model *m = make_model();
  bdpt_subset all;
  baseline_walk walk;
  double score[2][BDPT_MAX_DEPTH], last;
  int l;
  make_data(&all);
  fill(m, BDPT_SLOT(1, BDPT_SLOT_PROJ_W), 0);
  fill(m, BDPT_SLOT(1, BDPT_SLOT_FC1_B), 30);
  CHECK(baseline_look(m, &all, &walk) == BDPT_OK);
  CHECK_CLOSE(walk.cosine[0][1], 1, 1e-5);
  CHECK_CLOSE(walk.cosine[1][1], 1, 1e-5);
  CHECK_CLOSE(walk.change[1][1], 0, 1e-9);
  /* a = 0, so (a - u)^2 is the mean square of a layer norm's output with gamma 1, beta 0 */
  CHECK_CLOSE(walk.change[0][1], 1, 1e-3);
  for (l = 0; l < 3; l += 2) {
    CHECK(walk.cosine[0][l] < 0.99999 && walk.cosine[1][l] < 0.99);
    CHECK(walk.change[1][l] > 1e-3);
  }
  last = walk.cosine[0][2];
  fill(m, BDPT_SLOT(0, BDPT_SLOT_FC2_B), 3); /* a block sees what the ones before it return */
  CHECK(baseline_look(m, &all, &walk) == BDPT_OK && walk.cosine[0][2] != last);
  CHECK(baseline_transfer(m, &all, score) == BDPT_OK);
  CHECK_CLOSE(score[0][1], 0, 1e-9);
  CHECK_CLOSE(score[1][1], 0, 1e-4);
  for (l = 0; l < 3; l += 2) CHECK(fabs(score[0][l]) > 0.01 && fabs(score[1][l]) > 0.01);
  CHECK(bdpt_removed(&m->config, 0) == 0 && m->config.attn_form == BDPT_ATTN_NORM);
  bdpt_subset_free(&ctx, &all);
  bdpt_model_free(m);
}

/* The entropy follows from deviations that are known: a head without weights gives none; weights
 * twice as large add K log 2. */
TEST(entropy_counts_deviations) {
  bdpt_model *m = make_model();
  bdpt_subset all;
  double h[2];
  size_t k;
  make_data(&all);
  CHECK(baseline_entropy(m, &all, &h[0]) == BDPT_OK);
  for (k = 0; k < m->param[BDPT_SLOT_HEAD_W].count; k++)
    m->param[BDPT_SLOT_HEAD_W].data[k] *= (bdpt_real)2;
  CHECK(baseline_entropy(m, &all, &h[1]) == BDPT_OK);
  CHECK_CLOSE(h[1] - h[0], 5 * log(2.0), 1e-4);
  fill(m, BDPT_SLOT_HEAD_W, 0);
  fill(m, BDPT_SLOT_HEAD_B, 0.5);
  CHECK(baseline_entropy(m, &all, &h[0]) == BDPT_OK);
  CHECK_CLOSE(h[0], 5 * 0.5 * log(1e-12), 1e-9);
  bdpt_subset_free(&ctx, &all);
  bdpt_model_free(m);
}

TEST(layers_are_taken_by_score) {
  double score[2][BDPT_MAX_DEPTH], other[2][BDPT_MAX_DEPTH];
  int which[2][BDPT_MAX_DEPTH], l, seed, count[2] = {2, 1}, differ = 0;
  for (l = 0; l < 4; l++) {
    score[0][l] = l;
    score[1][l] = 10 - l;
  }
  score[0][2] = -1;
  baseline_take(score, 4, count, 0, which);
  CHECK(which[0][2] && which[0][0] && which[0][1] + which[0][3] == 0);
  CHECK(which[1][3] && which[1][0] + which[1][1] + which[1][2] == 0);
  score[1][3] = -5;
  baseline_take(score, 4, count, 1, which);
  CHECK(which[1][3] && which[0][2] && which[0][0] && which[0][1] + which[1][2] == 0);
  score[1][3] = 20;
  baseline_take(score, 4, count, 1, which);
  CHECK(which[0][2] && which[0][0] && which[0][1] && which[1][3] + which[0][3] == 0);
  baseline_random(1, score);
  for (seed = 2; seed < 5; seed++) {
    baseline_random((size_t)seed, other);
    differ += memcmp(score, other, sizeof score) != 0;
    baseline_take(other, 12, count, 0, which);
    for (l = 0; l < 12; l++) {
      count[0] -= which[0][l];
      count[1] -= which[1][l];
    }
    CHECK(count[0] == 0 && count[1] == 0);
    count[0] = 2;
    count[1] = 1;
  }
  baseline_random(1, other);
  CHECK(differ == 3 && memcmp(score, other, sizeof score) == 0);
}

/* Writes the lines of every network of four blocks, as if it had been trained. Each layer that is
 * gone adds what it costs to the loss; attention 1 and activation 3 together add `more`. */
static void known_networks(const study_spec *p, double more) {
  static const double cost[2][4] = {{3, 1, 2, 5}, {2, 4, 3, 0.5}};
  cli_json *j = &one.base.record.text;
  int set, t, l;
  for (set = 0; set < 256; set++) {
    study_spec q = *p;
    double loss = 0;
    char name[STUDY_NAME];
    for (t = 0; t < 2; t++)
      for (l = 0; l < 4; l++) {
        q.which[t][l] = set >> (4 * t + l) & 1;
        loss += q.which[t][l] * cost[t][l];
      }
    if (q.which[0][1] && q.which[1][3]) loss += more;
    study_name(&one, &q, name);
    cli_json_open(j, "mark");
    cli_json_text(j, "name", name);
    cli_json_real(j, "epoch", 2);
    cli_json_real(j, "loss", loss);
    cli_json_close(j);
    cli_json_open(j, "network");
    cli_json_text(j, "name", name);
    cli_json_close(j);
  }
}

/* Exchanges among four blocks without attention 0 and activation 1, of which so many are tried. */
static record_line exchanged(int swaps, double more, study_spec *greedy) {
  CHECK(reading("data/reproduce.recipe", NULL, "")[0] == 0);
  one.base.ctx = &ctx;
  one.base.depth = 4;
  one.base.record.kept = RECORD_HELD;
  one.recipe.headline_swaps = swaps;
  strcpy(one.better_hash, "0123456789abcdef");
  *greedy = study_spec_of(&one, STUDY_SKIP_FIT, &one.recipe.headline_healing, 0);
  greedy->better = 1;
  known_networks(greedy, more);
  greedy->which[0][0] = greedy->which[1][1] = 1;
  CHECK(study_swaps(&one, greedy) == BDPT_OK);
  return study_swapped(&one, greedy);
}

/* By the costs above: 7 as they are, 5 with attention 1 for 0, 3.5 with activation 3 for 1. */
TEST(layers_are_exchanged) {
  static const struct { int swaps; double more, loss; int attention, activation, trainings; }
  cases[] = {{6, 0, 1.5, 1, 3, 16}, {6, 10, 3.5, 0, 3, 16}, {1, 0, 3.5, 0, 3, 10}};
  study_spec greedy, some;
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    record_line line = exchanged(cases[i].swaps, cases[i].more, &greedy);
    CHECK(line.text != NULL);
    CHECK_CLOSE(record_real(line, "greedy_loss", 0), 7, 0);
    CHECK_CLOSE(record_real(line, "loss", 0), cases[i].loss, 0);
    CHECK(record_int(line, "trainings", 0) == cases[i].trainings);
    CHECK(record_int(line, "images", 0) == cases[i].trainings * 10000);
    some = greedy;
    some.which[0][0] = 0; /* a part of the greedy layers: only what stands for it */
    study_swap_taken(&one, &greedy, &some);
    CHECK(some.which[1][cases[i].activation] && !some.which[1][1]);
    CHECK(some.which[0][0] + some.which[0][1] + some.which[0][2] + some.which[0][3] == 0);
    some = greedy;
    study_swap_taken(&one, &greedy, &some);
    CHECK(some.which[0][cases[i].attention] && some.which[1][cases[i].activation]);
    one.recipe.headline_lr *= 2; /* another recovery may want other exchanges */
    some.lr = one.recipe.headline_lr;
    CHECK(!study_swapped(&one, &some).text);
    one.recipe.headline_swaps = 0; /* the line is not asked for */
    study_swap_taken(&one, &greedy, &greedy);
    CHECK(greedy.which[0][0] && greedy.which[1][1]);
    CHECK(study_swaps(&one, &greedy) == BDPT_OK && !study_swapped(&one, &greedy).text);
    record_free(&one.base.record);
  }
}

/* A line of each kind, from a network of three blocks. */
static const char *const sample[] = {
  "{\"kind\":\"setup\",\"depth\":3,\"seed\":1,\"data\":\"cifar-100\",\"command\":\"make\"}",
  "{\"kind\":\"recipe\",\"text\":\"lr 1\"}",
  "{\"kind\":\"dense\",\"accuracy\":70.5,\"test\":70.25}",
  "{\"kind\":\"disparity\",\"step\":9,\"attention\":[1,2,3],\"activation\":[4,5,6]}",
  "{\"kind\":\"change\",\"attention\":[1,2,3],\"activation\":[4,5,6]}",
  "{\"kind\":\"gap\",\"raw\":4,\"size\":2,\"variance\":0.5,\"rest\":4,\"adam\":1.5}",
  "{\"kind\":\"recovery\",\"type\":\"activation\",\"layer\":1,\"before\":70,\"at_once\":3,"
  "\"marks\":[1,3],\"after\":[40,60]}",
  "{\"kind\":\"mismatch\",\"linear\":\"fc1\",\"message\":\"a < b & c\",\"width\":16,"
  "\"hidden\":64,\"asked\":6,\"refused\":6}",
  "{\"kind\":\"collected\",\"start\":\"paper\",\"seed\":1,\"attentions\":0.5,"
  "\"activations\":1,\"accuracy\":66.5}",
  "{\"kind\":\"collected\",\"start\":\"paper\",\"seed\":2,\"attentions\":1,"
  "\"activations\":0.5,\"accuracy\":67.5}",
  "{\"kind\":\"surface\",\"start\":\"paper\",\"seed\":1,\"degree\":1,\"terms\":[0,0,1,0,0,1],"
  "\"theta\":[40,10,20],\"cv_rmse\":[1.25,2]}",
  "{\"kind\":\"split\",\"start\":\"paper\",\"seed\":1,\"budget\":8,\"attentions\":3,"
  "\"activations\":5,\"exact\":71.5,\"one\":20,\"more\":8.5}",
  "{\"kind\":\"split\",\"start\":\"paper\",\"seed\":2,\"budget\":8,\"attentions\":1,"
  "\"activations\":7,\"exact\":80,\"one\":20,\"more\":0}",
  "{\"kind\":\"ranking\",\"way\":\"learned\",\"marks\":[0,4],\"accuracies\":[1,61.5],\"test\":61}",
  "{\"kind\":\"ranking\",\"way\":\"learned\",\"marks\":[0,4],\"accuracies\":[1,62],\"test\":60}",
  "{\"kind\":\"ranking\",\"way\":\"random\",\"marks\":[0,4],\"accuracies\":[1,40],\"test\":41}",
  "{\"kind\":\"types\",\"type\":\"joint\",\"layers\":2,\"attention\":[1],\"activation\":[2],"
  "\"accuracies\":[5,66]}",
  "{\"kind\":\"control\",\"accuracies\":[70,68.5]}",
  "{\"kind\":\"timing\",\"model\":\"joint\",\"attentions\":1,\"activations\":1,\"speedup\":1.2}",
  "{\"kind\":\"timing\",\"model\":\"deit_base_patch16_224\",\"attentions\":5,"
  "\"activations\":5,\"speedup\":1.5,\"speedup_low\":1.4,\"speedup_high\":1.6,"
  "\"dense_macs\":17,\"macs\":10}",
  "{\"kind\":\"semantics\",\"variant\":\"x + LN1(x)\",\"marks\":[0,4],\"accuracies\":[1,50],"
  "\"test\":49}",
  "{\"kind\":\"single\",\"type\":\"activation\",\"layer\":1,\"fit\":68}",
  "{\"kind\":\"start\",\"start\":\"paper\",\"budget\":4,\"seed\":1,\"accuracies\":[1,50]}",
  "{\"kind\":\"start\",\"start\":\"skip-fit\",\"budget\":4,\"seed\":1,\"accuracies\":[55,66]}",
  "{\"kind\":\"start\",\"start\":\"skip-fit\",\"budget\":2,\"seed\":1,\"accuracies\":[60,67]}",
  "{\"kind\":\"distillation\",\"teacher\":\"soft\",\"marks\":[10],\"accuracies\":[63],\"test\":62}",
  "{\"kind\":\"plus\",\"way\":\"both\",\"start\":\"skip-fit\",\"budget\":0,\"accuracies\":[4,64],"
  "\"macs\":4}",
  "{\"kind\":\"plus_timing\",\"model\":\"both\",\"start\":\"skip-fit\",\"budget\":0,"
  "\"speedup\":2.1}",
  "{\"kind\":\"tokens\",\"network\":\"pruned\",\"merge\":2,\"accuracy\":58}",
  "{\"kind\":\"tokens_timing\",\"merge\":8,\"speedup\":1.5,\"dense_macs\":31,\"macs\":20}",
  "{\"kind\":\"network\",\"name\":\"n\"}",
  "{\"kind\":\"part\",\"part\":1,\"seconds\":3600}"};

/* Makes the page of a text; the caller frees it. */
static char *page_of(const char *text) {
  report_run r;
  report_page page;
  bdpt_clear_error(&ctx);
  if (!CHECK(report_load(&ctx, text, strlen(text), "memory", &r) == BDPT_OK)) return NULL;
  report_render(&page, &r);
  report_free(&r);
  CHECK(!page.failed);
  return page.text;
}

/* What the page says follows from the lines; without any one key it still draws no NaN. */
TEST(the_page_of_a_study) {
  char text[8000], *page, *at;
  size_t used = 0, i;
  int without = 0;
  for (i = 0; i < sizeof sample / sizeof *sample; i++)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", sample[i]);
  page = page_of(text);
  CHECK_HAS(page, "70.25&nbsp;% on the test images while it is whole. Without");
  CHECK_HAS(page, "trained again 1 time; each");
  CHECK_HAS(page, "1 of the study's parts took 1.0 hours");
  CHECK_HAS(page, "gradients are 4.00 times attention's");
  CHECK_HAS(page, "a factor of 1.50 is left");
  CHECK_HAS(page, "<q>a &lt; b &amp; c</q>. All 6 single linears");
  CHECK_HAS(page, "measured 66.50"); /* the first seed's points, not the second's */
  CHECK(page && !strstr(page, "measured 67.50"));
  CHECK_HAS(page, "<q>paper</q>, seed 1: degree 1, leave-two-out error 1.25 points");
  CHECK_HAS(page, "2 seeds side by side");
  CHECK_HAS(page, "Between seeds the split moves by up to 2 layers");
  CHECK_HAS(page, "71.5&nbsp;% of the trials choose the same split of 8 layers");
  CHECK_HAS(page, "<q>learned</q>, 61.75&nbsp;%, 21.75 points above the next, <q>random</q>; one "
            "seed does not tell");
  CHECK_HAS(page, "joint, 2 layers: 1.20 times, 66.00 %");
  CHECK_HAS(page, "goes from 70.00 to 68.50&nbsp;%: that much of every loss");
  CHECK_HAS(page, "DeiT-B 5+5</text>");
  CHECK_HAS(page, ">1.70</text>"); /* multiply-accumulates, 17 over 10 */
  CHECK_HAS(page, "layer 1, least squares: 68.00 %");
  CHECK_HAS(page, "After the same training the fit is ahead by 16.0 to 16.0 points");
  CHECK_HAS(page, "At 1 of 2 budgets it starts above where the paper's start ends");
  CHECK_HAS(page, "both, start skip-fit: 2.10 times, 64.00 %");
  CHECK_HAS(page, "pruned, r = 2: 58.00 %");
  CHECK_HAS(page, "r = 8: 1.50 times as fast, 1.55 times fewer multiply-accumulates");
  CHECK(!strstr(page, "wrote no lines") && !strstr(page, "The result</h2>"));
  free(page);
  for (at = text; (at = strstr(at, "\":")) != NULL; at += 2) { /* hide one key after another */
    char *key = at - 1, keep;
    while (key[-1] != '"') key--;
    if (strncmp(key, "kind", 4) == 0) continue;
    keep = *key;
    *key = 'Q';
    page = page_of(text);
    if (page && !test_check(!strstr(page, "nan") && !strstr(page, "inf\""), "no NaN is drawn",
                            __FILE__, __LINE__)) printf("  without %.20s\n", key + 1);
    free(page);
    *key = keep;
    without++;
  }
  CHECK(without > 80);
}

int main(void) {
  bdpt_init(&ctx);
  RUN(recipes_are_read_and_refused);
  RUN(every_value_counts);
  bdpt_clear_error(&ctx);
  RUN(baselines_find_idle_layers);
  RUN(entropy_counts_deviations);
  RUN(layers_are_taken_by_score);
  RUN(layers_are_exchanged);
  RUN(the_page_of_a_study);
  CHECK(ctx.status == BDPT_OK);
  bdpt_finish(&ctx);
  CHECK(ctx.bytes_now == 0);
  return TEST_END("reproduce");
}
