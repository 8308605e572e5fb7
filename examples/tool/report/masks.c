/* =================================================================================================
 * masks.c: the report's section about masks
 * =================================================================================================
 * A "segment" line is what one network achieved on pictures with masks (boundarydpt segment
 * --record), with a sheet of pictures in it. The table puts the networks side by side. Times of two
 * lines were measured at different moments; what may be compared is the quotient that a line brings
 * along, of two networks measured in turn.
 */
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

int report_only_masks(const report_run *run) {
  return !run->setup && report_next(run, NULL, "segment") != NULL;
}

static void report_masks_row(report_page *page, const report_line *line) {
  const report_field *gone[2];
  double faster = report_number(line, "faster");
  int type;
  gone[0] = report_get(line, "attention_removed");
  gone[1] = report_get(line, "activation_removed");
  report_raw(page, "<tr><th scope=\"row\">");
  report_escape(page, report_text(line, "file"));
  report_raw(page, "</th><td>");
  for (type = 0; type < 2; type++)
    report_put(page, "%s%d", type ? " + " : "", gone[type] ? gone[type]->count : 0);
  report_put(page, "</td><td>%.3f</td><td>%.3f</td><td>%.2f</td><td>%.2f</td>"
                   "<td>%.2f</td><td>",
             1e-6 * report_number(line, "params"), 1e-9 * report_number(line, "macs"),
             report_number(line, "mean_iou"), report_number(line, "accuracy"),
             report_number(line, "ms"));
  if (faster > 0) {
    report_put(page, "%.2f, ", faster);
    report_escape(page, report_text(line, "beside"));
  } else report_raw(page, "-");
  report_raw(page, "</td></tr>\n");
}

void report_masks(report_page *page, const report_run *run) {
  const report_line *line = report_next(run, NULL, "segment");
  if (!line) return;
  report_put(page, "<section><h2>What is where</h2>\n<p>Every patch is classified by the same "
                   "linear, and what the patches say is blended to pixels. %.0f %s judged. "
                   "Milliseconds are those of the network for one picture of %.0f px on %.0f "
                   "%s.</p>\n", report_number(line, "pictures"),
             words_of(report_number(line, "pictures"), "picture was", "pictures were"),
             report_number(line, "image"), report_number(line, "threads"),
             words_of(report_number(line, "threads"), "thread", "threads"));
  report_raw(page, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">network</th>"
                   "<th scope=\"col\">attention + activations gone</th>"
                   "<th scope=\"col\">M parameters</th><th scope=\"col\">GMACs</th>"
                   "<th scope=\"col\">mean IoU, %</th><th scope=\"col\">pixels right, %</th>"
                   "<th scope=\"col\">ms</th><th scope=\"col\">times as fast as</th></tr></thead>"
                   "<tbody>\n");
  for (; line; line = report_next(run, line, "segment")) report_masks_row(page, line);
  report_raw(page, "</tbody></table></div>\n");
  while ((line = report_next(run, line, "segment")) != NULL) {
    if (!report_text(line, "png")[0]) continue;
    report_raw(page, "<figure style=\"margin:0 0 18px\"><img style=\"width:100%;image-rendering:"
                     "pixelated\" alt=\"picture, truth and answer side by side\" "
                     "src=\"data:image/png;base64,");
    report_escape(page, report_text(line, "png"));
    report_raw(page, "\"><figcaption class=\"meta\">");
    report_escape(page, report_text(line, "file"));
    report_raw(page, ": picture, truth, answer. Hatched: counts for nothing.</figcaption>"
                     "</figure>\n");
  }
  report_raw(page, "</section>\n");
}
