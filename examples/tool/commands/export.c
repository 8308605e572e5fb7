/* export.c: `boundarydpt export` */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/options.h"
#include "../cli/outputs.h"
#include "../cli/system.h"
#include "../files/export.h"
#include "../input.h"
#include "commands.h"
#include "common.h"

#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * export
 * ---------------------------------------------------------------------------------------------- */

static bdpt_status print_export(bdpt_context *ctx, const char *path, const char *format,
                                int json) {
  cli_json j = {NULL, 0, 0, 0, 0};
  double size = cli_file_size(path);
  if (size < 0) return cli_fail(ctx, BDPT_E_IO, "%s: its size cannot be asked", path);
  if (!json) {
    printf("%s: %.4g MB, %s\n", cli_out_name(path), 1e-6 * size, format);
    return BDPT_OK;
  }
  cli_json_open(&j, "export");
  cli_json_text(&j, "version", bdpt_version());
  cli_json_text(&j, "file", cli_out_name(path));
  cli_json_text(&j, "format", format);
  cli_json_real(&j, "bytes", size);
  cli_json_close(&j);
  return cli_json_print(&j, ctx);
}

static int export_network(const cli_command *c, bdpt_context *ctx, const char *path,
                          const export_options *o, int json) {
  cli_files files = {{path}, {o->onnx, o->safetensors}};
  bdpt_model *m = NULL;
  bdpt_status s = cli_check_files(ctx, &files);
  if (s == BDPT_OK && !(m = input_model(ctx, path, NULL))) s = ctx->status;
  if (s == BDPT_OK && o->safetensors) {
    s = export_safetensors(m, o);
    if (s == BDPT_OK)
      s = print_export(ctx, o->safetensors, "safetensors, config.json beside it", json);
  }
  if (s == BDPT_OK && o->onnx) {
    s = export_onnx(m, o->onnx);
    if (s == BDPT_OK) s = print_export(ctx, o->onnx, "ONNX, operator set 17", json);
  }
  bdpt_model_free(m);
  return cli_finish(c->name, ctx, s, NULL);
}

int command_export(int argc, char **argv) {
  static const cli_command c = {"export",
    "export MODEL [--onnx FILE] [--safetensors FILE] [options]",
    "Writes a network, dense, pruned or fused, for other programs. ONNX: float, operator set 17,\n"
    "any batch, input images[batch,3,H,W] normalised as the file's metadata say, output logits.\n"
    "Safetensors: timm's names, and a config.json in the same folder that lists what was removed\n"
    "(examples/load_pruned.py loads it into PyTorch). --names hf writes a network from which\n"
    "nothing was removed so that transformers' from_pretrained(DIR) takes it, if FILE is\n"
    "DIR/model.safetensors.",
    "export f.safetensors --onnx f.onnx\n"
    "export m.safetensors --safetensors DIR/model.safetensors --names hf",
    NULL, 1, 1};
  static const char *const types[] = {"f32", "f16", "bf16"}, *const kinds[] = {"timm", "hf"};
  static const int dtypes[] = {BDPT_F32, BDPT_F16, BDPT_BF16};
  cli_common common;
  export_options o;
  bdpt_context ctx;
  const char *path, *dtype, *names;
  int n, status, i, k;
  const cli_option options[] = {
    {"What to write", CLI_TITLE, NULL, NULL, NULL, NULL},
    {"--onnx", CLI_TEXT, &o.onnx, "FILE", NULL, "an ONNX file"},
    {"--safetensors", CLI_TEXT, &o.safetensors, "FILE", NULL, "a safetensors file"},
    {"--dtype", CLI_TEXT, &dtype, "NAME", "f32", "of safetensors: f32, f16 or bf16"},
    {"--names", CLI_TEXT, &names, "NAME", "timm", "of safetensors: timm or hf"},
    CLI_ELSEWHERE,
    CLI_EVERYWHERE,
    CLI_THREADS(&common),
    CLI_JSON(&common)
  };
  memset(&o, 0, sizeof o);
  command_defaults(&common);
  status = cli_parse(&c, options, CLI_COUNT(options), argc, argv, &path, &n);
  if (status != CLI_GO_ON) return status;
  for (i = 0; i < CLI_COUNT(types) && strcmp(dtype, types[i]) != 0; i++) {}
  for (k = 0; k < CLI_COUNT(kinds) && strcmp(names, kinds[k]) != 0; k++) {}
  if (i == CLI_COUNT(types))
    return cli_usage_error(&c, "--dtype wants f32, f16 or bf16, got '%s'", dtype);
  if (k == CLI_COUNT(kinds))
    return cli_usage_error(&c, "--names wants timm or hf, got '%s'", names);
  if (!o.onnx && !o.safetensors)
    return cli_usage_error(&c, "--onnx FILE or --safetensors FILE is needed, or both");
  if (!o.safetensors && (i || k))
    return cli_usage_error(&c, "--dtype and --names are about --safetensors; ONNX is float");
  if (o.safetensors && (strcmp(o.safetensors, "-") == 0 || cli_is_special(o.safetensors)))
    return cli_usage_error(&c, "--safetensors wants a file: a config.json is written beside it");
  o.dtype = dtypes[i];
  o.names = k; /* EXPORT_TIMM, EXPORT_HF */
  if (o.onnx) o.onnx = cli_out_path(o.onnx);
  status = command_open(&c, &common, &ctx);
  if (status != CLI_GO_ON) return status;
  status = export_network(&c, &ctx, path, &o, common.json);
  bdpt_finish(&ctx);
  return status;
}
