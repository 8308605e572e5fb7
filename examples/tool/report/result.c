/* result.c: the result, and the network before and after */
#include "../../../boundarydpt.h"
#include "lines.h"
#include "page.h"
#include "sections.h"
#include "../words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------
 * A little statistics
 * ---------------------------------------------------------------------------------------------- */

double report_median(const double *value, int count) {
  double sorted[2 * BDPT_MAX_DEPTH];
  int i, j, n = 0;
  for (i = 0; i < count && n < 2 * BDPT_MAX_DEPTH; i++) {
    if (!isfinite(value[i])) continue;
    for (j = n++; j > 0 && sorted[j - 1] > value[i]; j--) sorted[j] = sorted[j - 1];
    sorted[j] = value[i];
  }
  return n == 0 ? (double)NAN : 0.5 * (sorted[n / 2] + sorted[(n - 1) / 2]);
}

/* Returns half the width of the 95 % interval of an accuracy in per cent on n images; NaN if
 * unknown. */
static double report_interval(const report_line *row) {
  double p = report_number(row, "accuracy") / 100, n = report_number(row, "images");
  return n >= 1 && p >= 0 && p <= 1 ? 196 * sqrt(p * (1 - p) / n) : (double)NAN;
}

int report_speed(const report_run *run, int which, double ratio[3]) {
  const report_line *dense = run->row[REPORT_DENSE], *row = run->row[which];
  double low = report_number(row, "ms_low"), high = report_number(row, "ms_high");
  double dense_low = report_number(dense, "ms_low"), dense_high = report_number(dense, "ms_high");
  ratio[0] = report_number(dense, "ms") / report_number(row, "ms");
  ratio[1] = dense_low / high;
  ratio[2] = dense_high / low;
  if (!isfinite(ratio[0]) || !report_same(dense, row, "batch")) return -2;
  if (!(low > 0 && low <= high && dense_low > 0 && dense_low <= dense_high)) return -2;
  return (high < dense_low) - (low > dense_high);
}

double report_difference(const report_line *from, const report_line *to) {
  int pruned = strcmp(report_text(from, "name"), "pruned") == 0;
  double gained = report_number(to, pruned ? "gained_pruned" : "gained");
  double lost = report_number(to, pruned ? "lost_pruned" : "lost");
  double n = report_number(to, "images"), a = report_interval(from), b = report_interval(to);
  double both = gained + lost - (gained - lost) * (gained - lost) / n;
  if (n >= 1 && both >= 0) return 196 * sqrt(both) / n;
  return sqrt(a * a + b * b); /* an old run: as if on different images, which is wider */
}

double report_lost(const report_line *from, const report_line *to, int *told) {
  double lost = report_number(from, "accuracy") - report_number(to, "accuracy");
  *told = fabs(lost) > report_difference(from, to);
  return lost;
}

/* -------------------------------------------------------------------------------------------------
 * The table, once for the page and once for the terminal
 * ---------------------------------------------------------------------------------------------- */

enum { REPORT_COLUMNS = 7 };
static const char *const report_heading[REPORT_COLUMNS] = {
    "", "accuracy, %", "parameters", "MACs", "without QK,AV", "ms per batch", "speed-up"};

static void report_thousands(double value, char out[40]) {
  char digits[40];
  int i, length, to = 0;
  if (!(value >= 0 && value < 1e15)) {
    strcpy(out, "-");
    return;
  }
  length = snprintf(digits, sizeof digits, "%.0f", value);
  for (i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) out[to++] = ',';
    out[to++] = digits[i];
  }
  out[to] = 0;
}

static void report_unit(double value, char out[40]) {
  if (!(value >= 0)) strcpy(out, "-");
  else if (value >= 1e9) snprintf(out, 40, "%.2f G", value / 1e9);
  else snprintf(out, 40, "%.2f M", value / 1e6);
}

static void report_cells(const report_run *run, int which, char cell[REPORT_COLUMNS][40]) {
  const report_line *row = run->row[which];
  double wide = report_interval(row), ms = report_number(row, "ms"), ratio[3];
  double low = report_number(row, "ms_low"), high = report_number(row, "ms_high");
  int speed = report_speed(run, which, ratio);
  snprintf(cell[0], 40, "%s", report_row_name[which]);
  if (!isfinite(report_number(row, "accuracy"))) strcpy(cell[1], "-");
  else if (isfinite(wide))
    snprintf(cell[1], 40, "%.2f +- %.2f", report_number(row, "accuracy"), wide);
  else snprintf(cell[1], 40, "%.2f", report_number(row, "accuracy"));
  report_thousands(report_number(row, "params"), cell[2]);
  report_unit(report_number(row, "macs"), cell[3]);
  report_unit(report_number(row, "macs_no_matmul"), cell[4]);
  if (!isfinite(ms)) strcpy(cell[5], "-");
  else if (isfinite(low) && isfinite(high))
    snprintf(cell[5], 40, "%.2f (%.2f-%.2f)", ms, low, high);
  else snprintf(cell[5], 40, "%.2f", ms);
  if (which == REPORT_DENSE) strcpy(cell[6], "1");
  else if (speed == -2) strcpy(cell[6], "-");
  else if (speed == 0) strcpy(cell[6], "inside the noise");
  else snprintf(cell[6], 40, "%.2f (%.2f-%.2f)", ratio[0], ratio[1], ratio[2]);
}

/* Writes a cell of the page: plus-minus and the dash of a range get their proper signs. */
static void report_cell_html(report_page *page, const char *text) {
  for (; *text; text++) {
    if (text[0] == '+' && text[1] == '-') {
      report_raw(page, "<i>&plusmn;");
      report_escape(page, text + 2);
      report_raw(page, "</i>");
      return;
    }
    if (*text == '(') report_raw(page, "<i>(");
    else if (*text == ')') report_raw(page, ")</i>");
    else if (*text == '-' && text[1] >= '0') report_raw(page, "&ndash;");
    else report_put(page, "%c", *text);
  }
}

void report_print(const report_run *run, FILE *out) {
  static const int width[REPORT_COLUMNS] = {-10, 15, 12, 10, 14, 22, 17};
  char cell[REPORT_COLUMNS][40];
  int which, c;
  for (c = 0; c < REPORT_COLUMNS; c++) fprintf(out, "%*s", width[c], report_heading[c]);
  fprintf(out, "\n");
  for (which = 0; which < REPORT_ROWS; which++) {
    if (!run->row[which]) continue;
    report_cells(run, which, cell);
    for (c = 0; c < REPORT_COLUMNS; c++) fprintf(out, "%*s", width[c], cell[c]);
    fprintf(out, "\n");
  }
}

/* -------------------------------------------------------------------------------------------------
 * Section: the result
 * ---------------------------------------------------------------------------------------------- */

/* Draws one measured quantity of the four networks with its spread: accuracy, or milliseconds. */
static void report_result_panel(report_page *page, const report_run *run, int time) {
  double value[REPORT_ROWS], low[REPORT_ROWS], high[REPORT_ROWS], most = 0;
  int k, end, y = 40;
  report_axis x;
  for (k = 0; k < REPORT_ROWS; k++) {
    const report_line *row = run->row[k];
    double wide = report_interval(row);
    value[k] = report_number(row, time ? "ms" : "accuracy");
    low[k] = time ? report_number(row, "ms_low") : value[k] - wide;
    high[k] = time ? report_number(row, "ms_high") : value[k] + wide;
    if (value[k] > most) most = value[k];
    if (high[k] > most) most = high[k];
  }
  report_svg(page, 186, time ? "Milliseconds per batch" : "Accuracy on the test part");
  x = report_make_axis(0, time ? most * 1.05 : 100, 70, 322, 0);
  report_axis_x(page, &x, 26, 146, time ? "ms, with the measured spread"
                                        : "%, with the 95 % sampling interval");
  for (k = 0; k < REPORT_ROWS; k++, y += 30) {
    if (!isfinite(value[k])) continue;
    report_put(page, "<text class=\"s\" x=\"0\" y=\"%d\">%s</text>", y + 4, report_row_name[k]);
    report_segment(page, "stem", 'k', report_at(&x, 0), y, report_at(&x, value[k]), y);
    report_segment(page, "bar", 'k', report_at(&x, low[k]), y, report_at(&x, high[k]), y);
    for (end = 0; end < 2; end++) {
      double at = report_at(&x, end ? high[k] : low[k]);
      report_segment(page, "bar", 'k', at, y - 6, at, y + 6);
    }
    report_put(page, "<text class=\"s e\" x=\"%d\" y=\"%d\">%.2f</text>\n", REPORT_W, y + 4,
               value[k]);
  }
  report_raw(page, "</svg>\n");
}

static void report_result_table(report_page *page, const report_run *run) {
  char cell[REPORT_COLUMNS][40];
  int which, c;
  report_raw(page, "<div class=\"wide\"><table><thead><tr>");
  for (c = 0; c < REPORT_COLUMNS; c++)
    report_put(page, "<th scope=\"col\">%s</th>", c == 4 ? "MACs without QK<sup>T</sup>, AV"
                                                         : report_heading[c]);
  report_raw(page, "</tr></thead><tbody>\n");
  for (which = 0; which < REPORT_ROWS; which++) {
    if (!run->row[which]) continue;
    report_cells(run, which, cell);
    for (c = 0; c < REPORT_COLUMNS; c++) {
      report_raw(page, c == 0 ? "<tr><th scope=\"row\">" : "<td>");
      report_cell_html(page, cell[c]);
      report_raw(page, c == 0 ? "</th>" : "</td>");
    }
    report_raw(page, "</tr>\n");
  }
  report_raw(page, "</tbody></table></div>\n");
}

void report_say_speed(report_page *page, const report_run *run, int which) {
  double ratio[3];
  int speed = report_speed(run, which, ratio);
  const char *name = report_row_name[which];
  if (speed == -2)
    report_put(page, "The times of the dense and the %s network cannot be compared. ", name);
  else if (speed == 0)
    report_put(page, "The spreads of the dense and the %s network's times overlap: the difference "
                     "is inside the noise, and no speed-up is claimed. ", name);
  else if (speed > 0)
    report_put(page, "The %s network takes %.1f&nbsp;%% less time than the dense one: %.2f times "
                     "as "
                     "fast "
                     "(%.2f to %.2f, from the two spreads). ",
               name, 100 - 100 / ratio[0], ratio[0], ratio[1], ratio[2]);
  else
    report_put(page, "The %s network is slower than the dense one, %.2f times its time. ", name,
               1 / ratio[0]);
}

/* Says what accuracy was lost and won back, in one or two sentences. */
static void report_say_accuracy(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE], *pruned = run->row[REPORT_PRUNED];
  const report_line *after = run->row[REPORT_RECOVERED];
  int told, again, total;
  double lost, back, left;
  if (!dense || !pruned) return;
  lost = report_lost(dense, pruned, &told);
  if (!isfinite(lost)) return;
  if (!told) {
    report_put(page, "Removing the layers moved the accuracy by %.2f points, which so few test "
                     "images cannot tell from nothing. ", -lost);
    return;
  }
  report_put(page, lost > 0 ? "Removing the layers cost %.1f points at once"
                            : "Removing the layers raised the accuracy by %.1f points", fabs(lost));
  if (lost <= 0 || !isfinite(report_number(after, "accuracy"))) {
    report_raw(page, ". ");
    return;
  }
  back = -report_lost(pruned, after, &again);
  left = report_lost(dense, after, &total);
  if (!again) report_raw(page, "; fine-tuning won nothing back that could be told from noise. ");
  else if (back < 0) report_put(page, "; fine-tuning lost %.1f points more. ", -back);
  else {
    report_put(page, "; fine-tuning won %.1f of them back (%.0f&nbsp;%%). ", back,
               100 * back / lost);
    if (!total)
      report_raw(page, "What remains lies within the sampling error of the test part. ");
    else
      report_put(page, "In the end the network is %.1f points %s the dense one. ", fabs(left),
                 left > 0 ? "below" : "above");
  }
}

/* Says the difference in the end, and how well it is known. */
static void report_say_difference(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE], *after = run->row[REPORT_RECOVERED];
  double left = report_number(dense, "accuracy") - report_number(after, "accuracy");
  const char *how = isfinite(report_number(after, "gained")) ? "image by image"
                    : "as if the images were different ones, which is too wide";
  if (!isfinite(left + report_difference(dense, after))) return;
  report_put(page, "On the same %.0f %s the recovered network differs from the dense one by "
             "%s%.2f &plusmn; %.2f points (95&nbsp;%% interval, %s). ",
             report_number(after, "images"),
             words_of(report_number(after, "images"), "image", "images"),
             left > 0 ? "&minus;" : "+", fabs(left), report_difference(dense, after), how);
}

void report_result(report_page *page, const report_run *run) {
  const report_line *dense = run->row[REPORT_DENSE];
  const char *certificate = report_text(report_next(run, NULL, "certificate"), "text");
  double batch = report_number(dense, "batch"), images = report_number(dense, "images");
  report_result_table(page, run);
  report_raw(page, "<div class=\"panels\">");
  report_result_panel(page, run, 0);
  report_result_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">");
  report_say_accuracy(page, run);
  report_say_difference(page, run);
  report_say_speed(page, run, REPORT_FUSED);
  report_raw(page, "The paper reports 1.58 times for DeiT-B with 5 + 5 layers removed and 1.39 "
                   "times "
                   "for DeiT-S, on a GPU. ");
  if (isfinite(images))
    report_put(page, "Accuracy was measured on %.0f %s that chose nothing. ", images,
               words_of(images, "image", "images"));
  if (isfinite(batch))
    report_put(page, "A batch is %.0f %s. ", batch, words_of(batch, "image", "images"));
  if (certificate[0]) {
    report_raw(page, "Certificate of the fusion: <q>");
    report_escape(page, certificate);
    report_raw(page, "</q>. ");
  }
}

/* -------------------------------------------------------------------------------------------------
 * Section: the network
 * ---------------------------------------------------------------------------------------------- */

/* Draws every block as a column: attention above, the MLP below, heights in proportion to their
 * multiply-accumulates per token. What was removed leaves a dashed outline; a fused MLP is one thin
 * d x d map in the outline of the pair that it replaces. */
static void report_network_panel(report_page *page, const report_run *run, int pruned) {
  double tokens = report_number(run->setup, "tokens"), width = report_number(run->setup, "width");
  double hidden = report_number(run->setup, "mlp"), ratio = hidden / width, wide, attention, unit;
  int l, top = 30, mlp;
  if (!(ratio > 0)) ratio = 4;
  attention = isfinite(tokens / width) ? 4 + 2 * tokens / width : 5;
  unit = 150 / (attention + 2 * ratio);
  wide = (REPORT_W - 74.0) / run->depth;
  mlp = top + (int)(unit * attention) + 16;
  report_svg(page, 236, pruned ? "After removal and fusion" : "Dense");
  report_put(page, "<text x=\"0\" y=\"%.0f\">attention</text><text x=\"0\" y=\"%.0f\">linear</text>"
                   "<text x=\"0\" y=\"%.0f\">GELU</text><text x=\"0\" y=\"%.0f\">linear</text>",
             top + unit * attention / 2 + 4, mlp + unit * ratio / 2, mlp + unit * ratio + 4,
             mlp + unit * ratio * 1.5 + 8);
  for (l = 0; l < run->depth; l++) {
    double x = 68 + l * wide, w = wide * 0.74, tall = unit * ratio;
    const char *how = pruned && run->order[0][l] ? "gone" : "box";
    report_put(page, "<rect class=\"%s a\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>",
               how, x, top, w, unit * attention);
    if (pruned && run->order[1][l]) {
      report_put(page, "<rect class=\"gone g\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>"
                       "<rect class=\"box n\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"%.1f\"/>",
                 x, mlp, w, 2 * tall + 6, x, mlp + tall + 3 - unit / 2, w, unit);
    } else {
      report_put(page, "<rect class=\"box n\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>"
                       "<rect class=\"box g\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"4\"/>"
                       "<rect class=\"box n\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"%.1f\"/>",
                 x, mlp, w, tall, x, mlp + tall + 1, w, x, mlp + tall + 6, w, tall);
    }
    if (run->depth <= 16 || l % 4 == 0)
      report_put(page, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%d</text>\n", x + w / 2,
                 mlp + 2 * tall + 24, l);
  }
  report_put(page, "<text x=\"0\" y=\"%.1f\">block</text></svg>\n", mlp + 2 * unit * ratio + 24);
}

/* Lists the layers of one type that went, in the order of their numbers: "3, 7". */
static void report_say_layers(report_page *page, const report_run *run, int type) {
  int l, said = 0;
  for (l = 0; l < run->depth; l++)
    if (run->order[type][l]) report_put(page, "%s%d", said++ ? ", " : " ", l);
  if (!said) report_raw(page, " none");
}

void report_network(report_page *page, const report_run *run) {
  int l, both = 0;
  double dense = report_number(run->row[REPORT_DENSE], "macs");
  double fused = report_number(run->row[REPORT_FUSED], "macs");
  for (l = 0; l < run->depth; l++) both += run->order[0][l] && run->order[1][l];
  report_key(page, "ag");
  report_raw(page, "<div class=\"panels\">");
  report_network_panel(page, run, 0);
  report_network_panel(page, run, 1);
  report_raw(page, "</div><p class=\"cap\">Attention layers removed:");
  report_say_layers(page, run, 0);
  report_raw(page, "; activations removed:");
  report_say_layers(page, run, 1);
  if (both) report_put(page, "; %d %s lost both. ", both, words_of(both, "block", "blocks"));
  else report_raw(page, "; no block lost both. ");
  if (run->removed[1])
    report_raw(page, "Where the GELU is gone nothing stands between the two linears, so they "
                     "become "
                     "one small map; removing a linear alone would not fit its neighbours. ");
  report_raw(page, "Heights are multiply-accumulates per token. ");
  if (isfinite(dense / fused))
    report_put(page, "Together that is %.1f&nbsp;%% %s of them for the whole network. ",
               fabs(100 - 100 * fused / dense), fused < dense ? "fewer" : "more");
  report_raw(page, "The paper's released DeiT-B removes attention 0, 3, 7, 8, 11 and activation "
                   "2, 7, "
                   "8, 10, 11. ");
}
