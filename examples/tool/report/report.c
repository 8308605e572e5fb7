/* report.c: a run's JSON lines become one HTML page, and the same table for the terminal.
 *
 * The tool's run command writes one JSON object per line (build/run/run.jsonl); this file reads the
 * lines back and draws. The page is one file: inline style, inline SVG, no script, nothing fetched.
 * Three rules hold it together.
 *
 *   1. The reader knows no schema. A line is a list of fields, a field is a key with a text or some
 *      numbers. Sections ask for the kinds that they need, so a new kind needs no new reader, and a
 *      kind that is missing costs its section and nothing else.
 *   2. Every sentence is computed. A caption first asks what the numbers show, then chooses its
 *      words. Times whose spreads overlap are never called faster.
 *   3. Published numbers are hollow or faint, measured ones are solid, everywhere.
 *
 * Published values come from the paper's figures and the authors' answers to reviewers; see
 * PAPER_NOTES.md. The panels are 372 units wide because two of them fill a page and one fills a
 * telephone, both at about the size at which the lettering was chosen. */
#include "../../../boundarydpt.h"
#include "../record.h"
#include "lines.h"
#include "page.h"
#include "report.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * The page
 * ---------------------------------------------------------------------------------------------- */

/* Attention is blue and activation orange: the two colours that every kind of colour vision tells
 * apart. Everything else is ink. */
static const char *const report_style[] = {
    ":root{--bg:#fdfcf9;--ink:#1d2126;--soft:#646a72;--rule:#dcd9d0;--grid:#e9e6de;--a:#0a6db0;"
    "--g:#c9570c;--n:#b9b8b2;color-scheme:light dark}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#15181c;--ink:#e4e3de;--soft:#979ca4;"
    "--rule:#343a41;--grid:#262b31;--a:#5cb0ea;--g:#f0944d;--n:#59606a}}\n"
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0 auto;max-width:812px;padding:48px 20px 64px;background:var(--bg);"
    "color:var(--ink);font:17px/1.55 Charter,'Bitstream Charter','Iowan Old Style',Georgia,"
    "'Liberation Serif',serif}\n"
    "h1{font-size:31px;line-height:1.15;font-weight:600;margin:0 0 14px;letter-spacing:-.01em}"
    "h2{font-size:21px;line-height:1.25;font-weight:600;margin:0 0 12px}"
    ".lead{font-size:19px;line-height:1.5;margin:0 0 18px}"
    "section{margin:52px 0 0;padding-top:20px;border-top:1px solid var(--rule)}\n"
    ".meta,.key,table,svg,.by,.flag{font-family:'Source Sans 3','Source Sans Pro','Segoe UI',"
    "'Helvetica Neue',Arial,'Liberation Sans',sans-serif;font-variant-numeric:tabular-nums}"
    ".meta{font-size:13.5px;line-height:1.5;color:var(--soft);margin:0}"
    ".flag{font-size:15px;border:2px solid var(--g);padding:9px 13px;margin:0 0 22px}\n",
    ".panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));"
    "gap:26px 28px;margin:4px 0 14px}svg{display:block;width:100%;height:auto;overflow:visible}"
    ".cap{margin:0;max-width:44em;font-size:16px;line-height:1.5}.none{color:var(--soft);margin:0}"
    ".by{display:block;margin-top:7px;font-size:13px;color:var(--soft)}code{font:.9em "
    "ui-monospace,'DejaVu Sans Mono',Menlo,monospace}q{quotes:none;font-style:italic}\n"
    ".key{display:flex;flex-wrap:wrap;gap:2px 20px;font-size:13.5px;margin:0 0 14px}"
    ".key span{display:inline-flex;align-items:center;gap:7px}svg.dotkey{width:12px;height:12px}\n"
    "text{font-size:11.5px;fill:var(--soft);paint-order:stroke;stroke:var(--bg);stroke-width:3px;"
    "stroke-linejoin:round}text.h{font-size:13px;font-weight:600;fill:var(--ink)}"
    "text.s{fill:var(--ink)}text.m{text-anchor:middle}text.e{text-anchor:end}"
    "path{fill:none}.a{--c:var(--a)}.g{--c:var(--g)}.k{--c:var(--ink)}.q{--c:var(--soft)}"
    ".n{--c:var(--n)}.grid{stroke:var(--grid)}.line{stroke:var(--c);stroke-width:1.8;"
    "stroke-linecap:round;stroke-linejoin:round}.thin{stroke:var(--c);stroke-width:1;opacity:.6}"
    ".stem{stroke:var(--grid);stroke-width:7}.bar{stroke:var(--c);stroke-width:1.6}"
    ".dash{stroke:var(--c);stroke-width:1.2;stroke-dasharray:4 3}.faint{opacity:.5}\n",
    "path.band{fill:var(--c);opacity:.16}.dot{fill:var(--c);stroke:var(--bg);stroke-width:1.2}"
    ".ring{fill:var(--bg);stroke:var(--c);stroke-width:1.4}.box{fill:var(--c)}"
    ".gone{fill:none;stroke:var(--c);stroke-dasharray:3 2.5}"
    ".pt{fill:#fff}.pick{fill:none;stroke:#11151a;stroke-width:4.5}"
    ".pick.in{stroke:#fff;stroke-width:1.8}\n"
    ".wide{overflow-x:auto;margin:0 0 22px}table{border-collapse:collapse;width:100%;"
    "font-size:14px;line-height:1.35;white-space:nowrap}table.small{width:auto}"
    "th,td{text-align:right;padding:7px 0 7px 16px;border-bottom:1px solid var(--rule);"
    "font-weight:400;vertical-align:bottom}th:first-child{text-align:left;padding-left:0}"
    ".wide th:first-child{position:sticky;left:0;background:var(--bg)}"
    "thead th{color:var(--soft);white-space:normal;font-size:13px}tbody th{font-weight:600}"
    ".small th{font-weight:400;color:var(--soft)}sup{line-height:0;font-size:.75em}td "
    "i{font-style:normal;color:var(--soft)}\n"
    "@media (max-width:480px){body{padding:28px 16px 40px;font-size:16px}h1{font-size:25px}"
    ".lead{font-size:17px}section{margin-top:38px}}\n"
    "@media print{body{max-width:none;padding:0;font-size:10.5pt}section{break-inside:avoid}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n"};
const report_part report_section[] = {
    {"The result", "row", 0, report_result, 0},
    {"The network, before and after", "search", 1, report_network, 0},
    {"Gradient disparity", "disparity", 1, report_disparity, 0},
    {"Recovery asymmetry: every single layer removed", "recovery", 1, report_recovery, 0},
    {"The accuracy predictor and the split it chose", "map", 1, report_map_section, 0},
    {"Accuracy against measured speed-up", "row", 0, report_pareto, 0},
    {"Training, and the order of removal", "epoch", 1, report_training, 0},
    {NULL, NULL, 0, NULL, 0}};

/* Writes the first paragraph: what was done, what it bought, what it cost, as far as the numbers
 * carry. */
static void report_lead(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE], *fused = run->row[REPORT_FUSED];
  double ratio[3], lost;
  int told, speed = report_speed(run, REPORT_FUSED, ratio);
  report_raw(page, "<p class=\"lead\">");
  if (run->depth)
    report_put(page, "A vision transformer of %d %s", run->depth,
               words_of(run->depth, "block", "blocks"));
  else report_raw(page, "A vision transformer");
  if (run->removed[0] + run->removed[1])
    report_put(page, " gave up %d attention %s and %d %s", run->removed[0],
               words_of(run->removed[0], "layer", "layers"), run->removed[1],
               words_of(run->removed[1], "activation", "activations"));
  else report_raw(page, " was measured");
  lost = report_lost(dense, fused, &told);
  if (report_is_study(run)) {
    report_study_lead(page, run);
    return;
  }
  if (!isfinite(lost)) {
    report_raw(page, ". The run has not measured both the dense and the fused network.</p>\n");
    return;
  }
  if (speed == 1) report_put(page, ". It now runs %.2f times as fast", ratio[0]);
  else if (speed == -1) report_put(page, ". It now takes %.2f times as long", 1 / ratio[0]);
  else if (speed == 0) report_raw(page, ". Its time changed by less than the noise of the clock");
  else report_raw(page, ". Its times cannot be compared");
  report_put(page, ", and its accuracy went from %.2f to %.2f&nbsp;%%",
             report_number(dense, "accuracy"), report_number(fused, "accuracy"));
  report_put(page, told ? lost > 0 ? ": a loss of %.2f points.</p>\n" : ": a gain of %.2f "
                                                                        "points.</p>\n"
                        : ": %.2f points, within the sampling error of the test part.</p>\n",
             fabs(lost));
}

/* Writes what a reader needs to judge the numbers or to repeat them: data, machine and program. */
static void report_meta(report_page *page, const report_run *run) {
  static const struct { const char *before, *key, *one, *many; } part[] = { /* behind the value */
      {"Network ", "model", "", ""}, {", input ", "image", " px", " px"},
      {" high, ", "image_width", " px wide", " px wide"}, {", patch ", "patch", "", ""},
      {", width ", "width", "", ""}, {", ", "heads", " head", " heads"},
      {", ", "tokens", " token", " tokens"}, {". Data: ", "data", "", ""},
      {", ", "train_images", " training image", " training images"},
      {", ", "held_images", " held out for every choice", " held out for every choice"},
      {", ", "test_images", " for the test", " for the test"}, {". Machine: ", "cpu", "", ""},
      {", ", "threads", " thread", " threads"}, {", ", "isa", "", ""}, {", ", "compiler", "", ""},
      {". Seed ", "seed", "", ""}, {", version ", "version", "", ""}};
  size_t i;
  report_raw(page, "<p class=\"meta\">");
  for (i = 0; i < sizeof part / sizeof part[0]; i++) {
    const report_field *field = report_get(run->setup, part[i].key);
    if (!field) continue;
    report_raw(page, part[i].before);
    if (field->count > 0) report_put(page, "%.10g", field->number[0]);
    else report_escape(page, field->text);
    report_raw(page, words_of(field->count > 0 ? field->number[0] : 0, part[i].one, part[i].many));
  }
  report_raw(page, ".</p>\n");
}

static void report_head(report_page *page, const report_run *run) {
  size_t i;
  report_raw(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\""
                   "viewport\" content=\"width=device-width,initial-scale=1\"><title>Depth "
                   "pruning: "
                   "what the run measured</title>\n<style>\n");
  for (i = 0; i < sizeof report_style / sizeof report_style[0]; i++)
    report_raw(page, report_style[i]);
  report_raw(page, "</style></head><body>\n<header>");
  if (report_number(run->setup, "sample") > 0)
    report_raw(page, "<p class=\"flag\"><b>Sample.</b> Every number on this page is invented to "
                     "show "
                     "the page. Nothing here was measured.</p>");
  if (!report_next(run, NULL, "done") && !report_only_masks(run))
    report_raw(page, "<p class=\"flag\"><b>Unfinished.</b> The run has not come to its end; this "
                     "is "
                     "what it has written so far.</p>");
  report_raw(page, "<h1>Removing layers from a vision transformer</h1>\n");
  report_lead(page, run);
  report_meta(page, run);
  if (strcmp(report_text(run->setup, "data"), "generated") == 0)
    report_raw(page, "<p class=\"meta\">The images are drawn by a program. They show the method at "
                     "work; they say nothing about accuracy on photographs.</p>\n");
  report_raw(page, "</header>\n");
}

static void report_body(report_page *page, const report_run *run) {
  const char *command = report_text(run->setup, "command");
  const report_part *section = report_is_study(run) ? report_study_section : report_section;
  for (; section->title && !report_only_masks(run); section++) { /* masks alone: nothing else */
    if (section->by_name && !report_next(run, NULL, section->kind)) continue;
    report_put(page, "<section id=\"%s\"><h2>%s</h2>\n", section->kind, section->title);
    if (!report_next(run, NULL, section->kind) || (section->needs_depth && run->depth == 0)) {
      report_put(page, "<p class=\"none\">The run wrote no lines of kind <code>%s</code>%s, so "
                       "there "
                       "is nothing to draw here.</p></section>\n", section->kind,
                 section->needs_depth && run->depth == 0 ? " with a known depth" : "");
      continue;
    }
    section->draw(page, run);
    if (command[0]) {
      report_raw(page, "<span class=\"by\">Numbers made by <code>");
      report_escape(page, command);
      report_raw(page, "</code></span>");
    }
    report_raw(page, "</p></section>\n");
  }
  report_masks(page, run);
}

void report_render(report_page *page, const report_run *run) {
  memset(page, 0, sizeof *page);
  report_head(page, run);
  report_body(page, run);
  report_raw(page, "</body></html>\n");
}

int report_write(bdpt_context *ctx, const char *jsonl_path, const char *html_path) {
  cli_json lines = {NULL, 0, 0, 0, 0};
  bdpt_bytes bytes = {NULL, 0};
  int status = (int)bdpt_file_read(ctx, jsonl_path, &bytes);
  if (status != BDPT_OK) return status;
  record_modern((const char *)bytes.data, bytes.size, &lines);
  bdpt_bytes_free(ctx, &bytes);
  if (lines.failed) status = report_fail(ctx, BDPT_E_MEMORY, "%s: out of memory", jsonl_path);
  else status = report_write_lines(ctx, lines.text, lines.used, jsonl_path, html_path);
  free(lines.text);
  return status;
}

int report_write_lines(bdpt_context *ctx, const char *lines, size_t size, const char *name,
                       const char *html_path) {
  report_run run;
  report_page page;
  int status = report_load(ctx, lines, size, name, &run);
  if (status != BDPT_OK) return status;
  report_render(&page, &run);
  if (page.failed)
    status = report_fail(ctx, BDPT_E_MEMORY, "%s: no memory for the page", html_path);
  else status = (int)bdpt_file_write(ctx, html_path, page.text, page.length);
  free(page.text);
  report_free(&run);
  return status;
}

int report_table(bdpt_context *ctx, const char *jsonl_path, FILE *out) {
  report_run run;
  int status = report_read(ctx, jsonl_path, &run);
  if (status != BDPT_OK) return status;
  report_print(&run, out);
  report_free(&run);
  return status;
}
