/* messages.c: errors in the context, and the exit status that comes of them */
#include "messages.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cli_cut(char *text, size_t room, int wanted) {
  if (wanted < 0 || (size_t)wanted >= room) memcpy(text + room - 4, "...", 4);
}

bdpt_status cli_fail(bdpt_context *ctx, bdpt_status status, const char *format, ...) {
  va_list args;
  if (ctx->status != BDPT_OK) return ctx->status;
  va_start(args, format);
  cli_cut(ctx->message, sizeof ctx->message,
          vsnprintf(ctx->message, sizeof ctx->message, format, args));
  va_end(args);
  return ctx->status = status;
}

void cli_note_bf16(const bdpt_context *ctx) {
  if (!ctx->bf16 || bdpt_bf16_pays(ctx)) return;
  fprintf(stderr, "   --bf16 rounds the factors of products and makes them no faster: instruction "
          "set %s does\n   not multiply bf16 numbers, only AVX-512 with AVX512_BF16 does\n",
          bdpt_isa_name(ctx));
}

int cli_finish(const char *command, bdpt_context *ctx, bdpt_status status,
               const char *how_to_go_on) {
  if (status == BDPT_OK) return CLI_OK;
  if (status == BDPT_CANCELLED) {
    fprintf(stderr, "\nboundarydpt %s: stopped%s%s\n", command, how_to_go_on ? "; " : "",
            how_to_go_on ? how_to_go_on : "");
    return CLI_INTERRUPTED;
  }
  fprintf(stderr, "boundarydpt %s: %s\n", command,
          ctx->message[0] ? ctx->message : bdpt_status_string(status));
  return CLI_FAILED;
}
