/* segment.c: `boundarydpt segment` */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/system.h"
#include "../input.h"
#include "../pictures/generate.h"
#include "../pictures/png.h"
#include "../record.h"
#include "../segment/segment.h"
#include "commands.h"
#include "common.h"
#include "../words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * segment
 * ---------------------------------------------------------------------------------------------- */

typedef struct segment_options {
  cli_common common;
  segment_run run;
  const char *data, *out, *overlays, *record, *draw, *beside;
  size_t images, test, pictures;
  int image, classes;
} segment_options;

/* Writes the lists of what is gone, as info has them. */
static void segment_layers(cli_json *j, const bdpt_config *c) {
  int list[BDPT_MAX_DEPTH], n, l, type;
  for (type = 0; type < 2; type++) {
    for (n = l = 0; l < c->depth; l++)
      if (type ? c->block[l].mlp_state != BDPT_MLP_KEPT
               : c->block[l].attention != BDPT_ATTENTION_KEPT) list[n++] = l;
    cli_json_ints(j, type ? "activation_removed" : "attention_removed", list, n);
  }
}

/* Prints the result as a JSON line; with `sheet` also the pictures, for the report. */
static void segment_line(cli_json *j, const bdpt_model *m, const char *path,
                         const segment_options *o, const segment_score *s,
                         const segment_sheet *sheet) {
  bdpt_cost_report cost;
  bdpt_cost(m->ctx, &m->config, &cost);
  cli_json_open(j, "segment");
  cli_json_text(j, "file", path);
  cli_json_text(j, "data", o->data ? o->data : "generated");
  cli_json_real(j, "image", m->config.image);
  cli_json_real(j, "params", (double)cost.params);
  cli_json_real(j, "macs", cost.macs);
  segment_layers(j, &m->config);
  cli_json_real(j, "pictures", (double)s->pictures);
  cli_json_real(j, "pixels", (double)s->pixels);
  cli_json_real(j, "mean_iou", s->mean);
  cli_json_real(j, "accuracy", s->accuracy);
  cli_json_reals(j, "iou", s->iou, m->config.classes);
  cli_json_real(j, "ms", s->ms);
  cli_json_real(j, "ms_pixels", s->ms_pixels);
  if (s->faster > 0) {
    cli_json_text(j, "beside", o->beside);
    cli_json_real(j, "ms_beside", s->ms_beside);
    cli_json_real(j, "faster", s->faster);
  }
  cli_json_real(j, "threads", m->ctx->threads);
  if (sheet) {
    size_t size = 0;
    unsigned char *bytes = png_build(sheet->rgb, (size_t)sheet->width, (size_t)sheet->height,
                                     &size);
    char *text = bytes ? png_base64(bytes, size) : NULL;
    cli_json_text(j, "png", text ? text : "");
    free(text);
    free(bytes);
  }
  cli_json_close(j);
}

/* Adds the line to the record of a run, from which the report is drawn. */
static bdpt_status segment_note(const bdpt_model *m, const char *path, const segment_options *o,
                                const segment_score *s, const segment_sheet *sheet) {
  cli_json j = {NULL, 0, 0, 0, 0};
  record r;
  bdpt_status status = record_load(&r, m->ctx, o->record);
  segment_line(&j, m, path, o, s, sheet);
  if (status == BDPT_OK && j.text) cli_json_raw(&r.text, j.text, j.used);
  if (status == BDPT_OK) status = j.failed || !j.text ? BDPT_E_MEMORY : record_save(&r);
  free(j.text);
  record_free(&r);
  return status;
}

static bdpt_status segment_print(const bdpt_model *m, const char *path, const segment_options *o,
                          const segment_score *s) {
  bdpt_cost_report cost;
  cli_json j = {NULL, 0, 0, 0, 0};
  int k;
  if (o->common.json) {
    segment_line(&j, m, path, o, s, NULL);
    return cli_json_print(&j, m->ctx);
  }
  bdpt_cost(m->ctx, &m->config, &cost);
  printf("%s on %lu %s: mean IoU %.2f %%, %.2f %% of the pixels\n", cli_out_name(path),
         (unsigned long)s->pictures, words_of((double)s->pictures, "picture", "pictures"), s->mean,
         s->accuracy);
  printf("  %.2f ms a picture of %d px on %d %s, and %.2f ms from patches to pixels; %.3f "
         "GMACs\n", s->ms, m->config.image, m->ctx->threads,
         words_of(m->ctx->threads, "thread", "threads"), s->ms_pixels, 1e-9 * cost.macs);
  if (s->faster > 0)
    printf("  %.2f times as fast as %s, which takes %.2f ms in turn with it\n", s->faster,
           o->beside, s->ms_beside);
  for (k = 0; k < m->config.classes && !o->data; k++) {
    printf("  %-12s ", gen_scene_name(k));
    if (s->iou[k] == s->iou[k]) printf("%6.2f", s->iou[k]);
    else printf("     -"); /* does not occur */
    printf(k % 3 == 2 || k + 1 == m->config.classes ? "\n" : "  ");
  }
  return BDPT_OK;
}

/* Returns the network with a classifier for the masks; NULL: see ctx->message. */
static bdpt_model *segment_model(bdpt_context *ctx, const char *path, const segment_options *o) {
  const int image[2] = {o->image, 0};
  bdpt_model *m = input_model(ctx, path, image);
  int classes = o->data ? o->classes : GEN_SCENE_CLASSES, ready;
  bdpt_status s = BDPT_OK;
  if (!m) return NULL;
  ready = strncmp(m->preprocessing, "segment:", 8) == 0;
  if (!ready && !o->image && !o->data) s = bdpt_model_resize(m, 96, 0);
  if (s == BDPT_OK && m->config.image_width)
    s = cli_fail(ctx, BDPT_E_SHAPE, "%.200s reads %d x %d pixels, but masks are made of squares: "
                 "--image N", path, m->config.image, m->config.image_width);
  if (!ready && !o->out)
    s = cli_fail(ctx, BDPT_E_ARGUMENT, "%.200s is a classifier: --out NEW makes a network for "
                 "masks of it", path);
  if (s == BDPT_OK && ready && m->config.classes != classes && !o->out)
    s = cli_fail(ctx, BDPT_E_SHAPE, "%.200s knows %d %s, the masks have %d", path,
                 m->config.classes, words_of(m->config.classes, "class", "classes"), classes);
  if (s == BDPT_OK && (!ready || m->config.classes != classes))
    s = bdpt_model_new_head(m, classes, o->common.seed);
  snprintf(m->preprocessing, sizeof m->preprocessing,
           "segment: %s; the whole picture resized, bicubic", o->data ? "folder" : "drawn scenes");
  if (s == BDPT_OK) return m;
  bdpt_model_free(m);
  return NULL;
}

static bdpt_status segment_open_sets(bdpt_context *ctx, const segment_options *o, int side,
                                     segment_set set[2]) {
  bdpt_status s = BDPT_OK;
  memset(set, 0, 2 * sizeof *set);
  if (!o->data) {
    segment_open_scenes(o->images ? o->images : SEGMENT_GENERATED, 1, 0, side, &set[0]);
    segment_open_scenes(o->test ? o->test : SEGMENT_TESTED, 1, 1, side, &set[1]);
    return s;
  }
  if (o->out) s = segment_open_folder(ctx, o->data, "training", o->classes, &set[0]);
  if (s == BDPT_OK) s = segment_open_folder(ctx, o->data, "validation", o->classes, &set[1]);
  if (o->images && o->images < set[0].count) set[0].count = o->images;
  if (o->test && o->test < set[1].count) set[1].count = o->test;
  return s;
}

static int segment_do(const cli_command *c, bdpt_context *ctx, segment_options *o,
                      const char *path) {
  static segment_score score;
  segment_set set[2];
  segment_sheet sheet = {NULL, 0, 0, 0};
  char room[1024];
  const char *name = o->out ? o->out : path;
  const char *checkpoint = o->out ? cli_checkpoint_of(o->out, room) : NULL;
  cli_files files = {{path, o->beside}, {o->out, checkpoint, o->record}};
  bdpt_model *m = NULL, *beside = NULL;
  bdpt_status s = cli_check_files(ctx, &files);
  if (s == BDPT_OK && !(m = segment_model(ctx, path, o))) s = ctx->status;
  if (s == BDPT_OK) s = segment_open_sets(ctx, o, m->config.image, set);
  o->run.checkpoint = checkpoint;
  if (s == BDPT_OK && o->beside) {
    const int image[2] = {m->config.image, 0};
    beside = input_model(ctx, o->beside, image);
    if (!beside) s = ctx->status;
  }
  if (s == BDPT_OK && o->draw) {
    s = segment_write_set(ctx, &set[0], o->draw, "training");
    if (s == BDPT_OK) s = segment_write_set(ctx, &set[1], o->draw, "validation");
  }
  if (s == BDPT_OK && o->out) {
    s = segment_train(m, &set[0], &o->run);
    if (s == BDPT_OK) s = bdpt_fuse_all(m); /* exact up to rounding, and faster */
    if (s == BDPT_OK) s = bdpt_model_save(m, o->out);
    if (s == BDPT_OK) cli_forget_checkpoint(checkpoint);
  }
  if (s == BDPT_OK) s = segment_judge(m, &set[1], beside, o->common.quiet, &score);
  if (s == BDPT_OK) s = segment_print(m, name, o, &score);
  if (s == BDPT_OK && (o->overlays || o->record))
    s = segment_overlays(m, &set[1], o->overlays, o->overlays ? o->pictures : 4, &sheet);
  if (s == BDPT_OK && o->record) s = segment_note(m, name, o, &score, &sheet);
  free(sheet.rgb);
  if (m) {
    segment_set_free(&set[0]);
    segment_set_free(&set[1]);
  }
  bdpt_model_free(beside);
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, "the same command goes on from here");
}

int command_segment(int argc, char **argv) {
  static const cli_command c = {"segment", "segment MODEL [--out NEW] [options]",
    "Says what is where in pictures, with any network, dense or pruned, as the backbone: one\n"
    "linear per patch (its classifier), blended to pixels. With --out NEW all of it is trained,\n"
    "its MLPs without a GELU are fused, and it is saved. Then, or at once for a network that was\n"
    "made so, it is judged on the validation part: mean IoU, pixel accuracy, time. Without --data\n"
    "scenes are drawn, 21 classes at 96 px.\n\n"
    "--data DIR has ADE20K's layout: DIR/images/training, DIR/images/validation, and masks of the\n"
    "same names in DIR/annotations/..., grey, 0 ignored, 1 to 150 the classes. Pictures and masks\n"
    "are read as PPM and PGM, as PNG and JPEG if stb_image.h was there when the tool was built.\n"
    "Ctrl-C saves NEW.ckpt; the same command goes on.",
    "segment m.safetensors --out masks.safetensors --overlays pictures\n"
    "segment masks.safetensors --data ade20k --beside dense.safetensors",
    NULL, 1, 1};
  segment_options o;
  bdpt_context ctx;
  const char *path;
  int n, status;
  bdpt_recipe *r = &o.run.recipe;
  const cli_option options[] = {
    {"What goes in and out", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--data", CLI_TEXT, &o.data, "DIR", NULL, "pictures and masks (drawn scenes)"},
    {"--classes", CLI_INT_1, &o.classes, "N", "150", "with --data: classes of its masks"},
    {"--image", CLI_INT_1, &o.image, "N", NULL,
     "input size in pixels (96; with --data the network's)"},
    {"--out", CLI_TEXT, &o.out, "NEW", NULL, "train, and save the network"},
    {"--overlays", CLI_TEXT, &o.overlays, "DIR", NULL, "pictures of truth and answer, as PNG"},
    {"--pictures", CLI_SIZE_1, &o.pictures, "N", "8", "how many of them"},
    {"--beside", CLI_TEXT, &o.beside, "OTHER", NULL, "a network to compare the time with, in turn"},
    {"--record", CLI_TEXT, &o.record, "FILE", NULL,
     "add the result to a run's numbers, for its report"},
    {"--draw", CLI_TEXT, &o.draw, "DIR", NULL,
     "write the drawn scenes as files in ADE20K's layout"},
    {"--test", CLI_SIZE_1, &o.test, "N", NULL, "validation pictures (200 scenes; all)"},
    {"The recipe", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--epochs", CLI_INT_1, &r->epochs, "N", "10", "epochs"},
    {"--images", CLI_SIZE_1, &o.images, "N", NULL, "training pictures (4000 scenes; all)"},
    {"--batch", CLI_INT_1, &r->batch, "N", "8", "batch size"},
    {"--lr", CLI_SAID, &r->lr, "X", "1e-3", "highest learning rate"},
    {"--warmup", CLI_REAL, &r->warmup, "X", "0.5", "epochs of warm-up"},
    {"--decay", CLI_SAID, &r->weight_decay, "X", "0.05", "weight decay"},
    {"--drop-path", CLI_REAL, &r->drop_path, "X", "0", "stochastic depth of the last block"},
    {"--fresh", CLI_FLAG, &o.run.fresh, NULL, NULL, "ignore NEW.ckpt"},
    CLI_ELSEWHERE,
    CLI_SHARED(&o.common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&o.common);
  r->clip = 1;
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status != CLI_GO_ON) return status;
  if (r->epochs < 1 || r->batch < 1 || r->batch > 4096)
    return cli_usage_error(&c, "--epochs and --batch want 1 or more");
  if (o.classes < 1 || o.classes > 254)
    return cli_usage_error(&c, "--classes wants 1 to 254, got '%d'", o.classes);
  if (o.draw && o.data) return cli_usage_error(&c, "--draw writes drawn scenes, not --data");
  r->seed = o.common.seed;
  o.run.json = o.common.json; o.run.quiet = o.common.quiet;
  if (o.out) o.out = cli_out_path(o.out);
  status = command_begin(&c, &o.common, &ctx, options, CLI_COUNT(options), path);
  if (status != CLI_GO_ON) return status;
  status = segment_do(&c, &ctx, &o, path);
  bdpt_finish(&ctx);
  return status;
}
