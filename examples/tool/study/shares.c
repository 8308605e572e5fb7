/* =================================================================================================
 * shares.c: a study that several programs compute
 * =================================================================================================
 * A part of the study is a row of cells: networks to train, searches, collections of points. Cells
 * of one stage need nothing of each other, so they can be computed by programs that never speak.
 * Each program walks over all cells in the same order and gives each to the share that has least
 * to do; it computes its own and leaves their lines in OUT/shard-N.jsonl, each cell closed by a
 * "cell" line. What other shares have left there it takes over, so a second round finds more to do.
 *
 * --gather walks the same way and computes no cell: it takes the lines from the shares' files, adds
 * what is drawn from them, measures what is timed (nothing else should run then), and so writes the
 * record that one program would have written, line by line. A part goes in whole or not at all.
 *
 * Whatever the owners, a cell is computed from the record and its own name. So it does not matter
 * if two programs disagree on who owns a cell, or if there are more or fewer of them next time: at
 * worst a cell is computed twice.
 */
#include "../../../boundarydpt.h"
#include "../cli/json.h"
#include "../cli/messages.h"
#include "../cli/system.h"
#include "../join.h"
#include "../record.h"
#include "../session.h"
#include "reproduce.h"
#include "study.h"
#include "../words.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Who has what ---- */

/* Returns 1 for a part without cells, which --gather does: two because they are timed, one because
 * it is short. */
static int study_gathered(int part) { return part == 4 || part == 8 || part == 13; }

static uint64_t study_cell_hash(const char *name) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  while (*name) h = (h ^ (unsigned char)*name++) * UINT64_C(0x100000001b3);
  return h;
}

/* Returns the number in the list of cells; `again`: met before in this pass, because two parts
 * share it. In a list, names that depend on what is not known yet say nothing. */
static int study_meet(study *s, const char *name, double cost, int *again) {
  study_share *h = &s->share;
  const uint64_t hash = study_cell_hash(name);
  const int shares = s->o.shards ? s->o.shards : 1;
  int i, best = h->part % shares;
  for (i = 0; i < h->cells && h->waits == 0; i++)
    if (h->seen[i] == hash) { *again = 1; return i; }
  if (h->cells == h->room) {
    const int room = 2 * h->room + 64;
    uint64_t *seen = (uint64_t *)realloc(h->seen, (size_t)room * sizeof *seen);
    int *owner = seen ? (int *)realloc(h->owner, (size_t)room * sizeof *owner) : NULL;
    if (seen) h->seen = seen;
    if (owner) h->owner = owner;
    if (!owner) h->status = BDPT_E_MEMORY;
    if (!owner) return -1;
    h->room = room;
  }
  for (i = 0; i < shares; i++)
    if (h->load[(h->part + i) % shares] < h->load[best]) best = (h->part + i) % shares;
  h->load[best] += cost;
  h->seen[h->cells] = hash;
  h->owner[h->cells] = best + 1;
  return h->cells++;
}

/* Returns the lines of a finished cell in the shares' files; text NULL if there is none. */
static record_line study_found(const study *s, const char *name, double *seconds) {
  static const char head[] = "{\"kind\":\"cell\"";
  const cli_json *j = &s->share.lines;
  record_line block = {NULL, 0}, line;
  size_t at = 0, begin = 0;
  char own[STUDY_NAME];
  while (at < j->used) {
    const char *end = (const char *)memchr(j->text + at, '\n', j->used - at);
    line.text = j->text + at;
    line.size = end ? (size_t)(end - line.text) : j->used - at;
    at += line.size + 1;
    if (line.size < sizeof head || memcmp(line.text, head, sizeof head - 1) != 0) continue;
    record_text(line, "name", own, sizeof own);
    if (strcmp(own, name) == 0) {
      block.text = j->text + begin;
      block.size = (size_t)(line.text - block.text);
      *seconds = record_real(line, "seconds", 0);
      break;
    }
    begin = at;
  }
  return block;
}

int study_part_known(const study *s, int part) {
  return study_part_done(s, part) || (s->share.parts >> part & 1);
}

/* Returns 1 if cells are missing of a part that this one needs. */
static int study_lacks(const study *s, int part) {
  int needed;
  for (needed = 1; needed <= STUDY_PARTS; needed++)
    if (study_part[part].needs >> needed & 1 && !study_part_known(s, needed)) return 1;
  return 0;
}

/* Writes a cell as a line of --list --json. */
static void study_list_cell(study *s, const char *name, int known, int owner, double train,
                            double eval) {
  study_share *h = &s->share;
  cli_json *j = &h->listed;
  char text[40];
  int part, first = 1, k;
  if (!study_selected(s, h->part)) return;
  cli_json_open(j, "cell");
  snprintf(text, sizeof text, "%d.%d.%d", h->part, h->stage, h->number);
  cli_json_text(j, "cell", text);
  cli_json_real(j, "part", h->part);
  if (h->waits == 0 && !study_lacks(s, h->part)) cli_json_text(j, "name", name);
  cli_json_key(j, "needs");
  cli_json_raw(j, "[", 1);
  for (part = 1; part <= STUDY_PARTS; part++)
    if (study_part[h->part].needs >> part & 1) {
      snprintf(text, sizeof text, "%s\"%d\"", first ? "" : ",", part);
      cli_json_raw(j, text, strlen(text));
      first = 0;
    }
  for (k = 1; k < h->stage; k++) {
    snprintf(text, sizeof text, "%s\"%d.%d\"", first ? "" : ",", h->part, k);
    cli_json_raw(j, text, strlen(text));
    first = 0;
  }
  cli_json_raw(j, "]", 1);
  cli_json_real(j, "images_trained", train);
  cli_json_real(j, "images_evaluated", eval);
  cli_json_real(j, "seconds", train / s->train_speed + eval / s->eval_speed);
  if (study_gathered(h->part)) cli_json_real(j, "shard", 0); /* the gatherer's */
  else if (s->o.shards) cli_json_real(j, "shard", owner);
  cli_json_text(j, "state", known ? "done" : "to do");
  cli_json_close(j);
}

/* ---- Cells ---- */

int study_cell(study *s, const char *name, int known, double train, double eval) {
  study_share *h = &s->share;
  record *r = &s->base.record;
  record_line block = {NULL, 0};
  char own[STUDY_NAME];
  double seconds = 0;
  int again = 0, at;
  if (h->mode == STUDY_ALL) return !known;
  h->number++;
  at = study_meet(s, name, 3 * train + eval, &again);
  if (at < 0) return 0;
  if (!known) block = study_found(s, name, &seconds);
  if (block.text) cli_json_raw(&r->text, block.text, block.size);
  if (block.text) known = 1;
  h->seconds += seconds;
  if (h->mode == STUDY_LISTS && !again)
    study_list_cell(s, name, known, h->owner[at], train, eval);
  if (known) return 0;
  if (h->mode != STUDY_SHARES || h->owner[at] != s->o.shard) {
    h->missing++;
    return 0;
  }
  snprintf(h->name, sizeof h->name, "%s", name);
  h->began = cli_now();
  h->computed++;
  r->from = r->text.used;
  if (h->rest.used) { /* what was measured before an interruption */
    record_line line;
    line.text = h->rest.text;
    line.size = strcspn(line.text, "\n");
    record_text(line, "name", own, sizeof own);
    if (strcmp(own, name) == 0) cli_json_raw(&r->text, h->rest.text, h->rest.used);
    h->rest.used = 0;
  }
  return 1;
}

bdpt_status study_cell_end(study *s, bdpt_status status) {
  record *r = &s->base.record;
  cli_json *own = &r->own;
  if (s->share.mode != STUDY_SHARES || status != BDPT_OK) return status;
  cli_json_raw(own, r->text.text + r->from, r->text.used - r->from);
  cli_json_open(own, "cell");
  cli_json_text(own, "name", s->share.name);
  cli_json_text(own, "dense", s->hash);
  cli_json_real(own, "shard", s->o.shard);
  cli_json_real(own, "seconds", cli_now() - s->share.began);
  cli_json_close(own);
  r->from = SIZE_MAX;
  return record_save(r);
}

int study_waits(study *s) {
  study_share *h = &s->share;
  if (h->mode == STUDY_ALL) return 0;
  h->stage++;
  h->number = 0;
  h->waits = h->missing;
  return h->mode != STUDY_LISTS && h->missing > 0;
}

int study_completes(study *s) {
  const study_share *h = &s->share;
  return h->mode == STUDY_ALL || (h->mode == STUDY_GATHERS && h->missing == 0);
}

void study_prepare(study *s) {
  bdpt_recovery_row row[2 * BDPT_MAX_DEPTH];
  study_spec own;
  int l;
  if (study_part_known(s, 3)) { /* there is an order of removal */
    study_rows(s, row);
    own = study_distill_spec(s, STUDY_ALONE, 0);
    study_name(s, &own, s->keep);
  } else {
    for (l = 0; l < s->base.depth; l++) s->order[0][l] = s->order[1][l] = l; /* to be listed */
  }
}

void study_begin_part(study *s, int part) {
  study_share *h = &s->share;
  h->part = part;
  h->stage = 1;
  h->number = h->missing = h->waits = 0;
  h->seconds = 0;
  memset(h->load, 0, sizeof h->load);
}

/* ---- Files ---- */

/* Returns where the lines of a share's file end that are finished. */
static size_t study_finished(const record *r) {
  size_t at = 0, end = 0;
  record_line line;
  while (at < r->text.used) {
    line.text = r->text.text + at;
    line.size = strcspn(line.text, "\n");
    at += line.size + 1;
    if (record_is(line, "kind", "setup") || record_is(line, "kind", "recipe") ||
        record_is(line, "kind", "cell"))
      end = at;
  }
  return end < r->text.used ? end : r->text.used;
}

/* Adds the finished cells of a share's file to those of the others. */
static void study_take_cells(study *s, const record *r) {
  const size_t end = study_finished(r);
  size_t at = 0;
  record_line line;
  while (at < end) {
    line.text = r->text.text + at;
    line.size = strcspn(line.text, "\n");
    at += line.size + 1;
    if (record_is(line, "kind", "setup") || record_is(line, "kind", "recipe")) continue;
    cli_json_raw(&s->share.lines, line.text, line.size);
    cli_json_raw(&s->share.lines, "\n", 1);
  }
}

bdpt_status study_read_shares(study *s) {
  char path[720];
  record r;
  join all;
  record_line dense = record_get(&s->base.record, "dense", 0);
  bdpt_status status = BDPT_OK;
  int k;
  memset(&all, 0, sizeof all);
  snprintf(all.options, sizeof all.options, "%s", s->base.setup);
  snprintf(all.options_in, sizeof all.options_in, "this command");
  record_text(dense, "hash", all.dense, sizeof all.dense);
  snprintf(all.dense_in, sizeof all.dense_in, "the record");
  s->share.lines.used = 0;
  for (k = 1; k <= STUDY_MOST_SHARES && status == BDPT_OK; k++) {
    snprintf(path, sizeof path, "%.680s/shard-%d.jsonl", s->o.out, k);
    if (cli_file_exists(path) == 0) continue;
    status = record_load(&r, s->base.ctx, path);
    if (status == BDPT_OK) status = join_agrees(&all, &r);
    if (status == BDPT_OK) study_take_cells(s, &r);
    record_free(&r);
  }
  return status == BDPT_OK && s->share.lines.failed ? BDPT_E_MEMORY : status;
}

bdpt_status study_own_share(study *s) {
  record *r = &s->base.record, file;
  bdpt_status status;
  size_t end;
  snprintf(s->base.record_path, sizeof s->base.record_path, "%.680s/shard-%d.jsonl", s->o.out,
           s->o.shard);
  status = record_load(&file, s->base.ctx, s->base.record_path);
  if (status != BDPT_OK) return status;
  end = study_finished(&file);
  if (end > 0) cli_json_raw(&r->own, file.text.text, end);
  if (file.text.used > end)
    cli_json_raw(&s->share.rest, file.text.text + end, file.text.used - end);
  if (end == 0) { /* the setup and the recipe */
    const record_line last = record_get(r, "recipe", 0);
    cli_json_raw(&r->own, r->text.text, (size_t)(last.text + last.size + 1 - r->text.text));
  }
  record_free(&file);
  r->kept = RECORD_OWN;
  r->from = SIZE_MAX;
  return r->own.failed || s->share.rest.failed ? BDPT_E_MEMORY : BDPT_OK;
}

void study_free_shares(study *s) {
  free(s->share.lines.text);
  free(s->share.listed.text);
  free(s->share.rest.text);
  free(s->share.seen);
  free(s->share.owner);
}

/* ---- The two walks that write no record ---- */

bdpt_status study_list_cells(study *s) {
  study_share *h = &s->share;
  bdpt_status status = study_read_shares(s);
  int part;
  h->mode = STUDY_LISTS;
  for (part = 1; part <= STUDY_PARTS && status == BDPT_OK; part++) {
    study_prepare(s);
    study_begin_part(s, part);
    if (study_gathered(part)) {
      double train, eval;
      study_part_cost(s, part, &train, &eval);
      study_cell(s, study_part[part].name, study_part_done(s, part), train, eval);
    } else {
      status = study_part[part].work(s);
    }
    if (status == BDPT_OK) status = h->status;
    if (h->missing == 0) h->parts |= 1 << part;
  }
  return status == BDPT_OK ? cli_json_print(&h->listed, s->base.ctx) : status;
}

bdpt_status study_gather_part(study *s, int part) {
  record *r = &s->base.record;
  const size_t before = r->text.used;
  bdpt_status status;
  study_begin_part(s, part);
  if (!study_gathered(part)) r->kept = RECORD_HELD;
  status = study_part[part].work(s);
  r->kept = RECORD_WHOLE;
  if (status == BDPT_OK) status = s->share.status;
  if (status == BDPT_OK && s->share.missing > 0)
    status = cli_fail(s->base.ctx, BDPT_E_STATE, "part %d (%s) lacks %d %s, which no share has "
                      "left in %.200s; run the shares again", part, study_part[part].name,
                      s->share.missing, words_of(s->share.missing, "cell", "cells"), s->o.out);
  if (status != BDPT_OK && !study_gathered(part)) r->text.used = before;
  return status;
}

/* Walks over the parts once. Returns how many cells are missing, or parts that wait for them. */
static int study_share_pass(study *s, bdpt_status *status) {
  study_share *h = &s->share;
  int part, missing = 0;
  h->cells = h->computed = 0;
  for (part = 1; part <= STUDY_PARTS && *status == BDPT_OK; part++) {
    int computed = h->computed;
    study_prepare(s);
    if (!study_selected(s, part) || study_gathered(part) || study_part_done(s, part)) continue;
    if (study_lacks(s, part)) {
      missing++;
      continue;
    }
    study_begin_part(s, part);
    *status = study_part[part].work(s);
    if (*status == BDPT_OK) *status = h->status;
    if (*status == BDPT_OK && cli_stop) *status = BDPT_CANCELLED;
    if (h->missing == 0) h->parts |= 1 << part;
    missing += h->missing;
    if (h->computed > computed)
      session_say(&s->base, "   %2d  %-10s %d %s computed\n", part, study_part[part].name,
                  h->computed - computed, words_of(h->computed - computed, "cell", "cells"));
  }
  return missing;
}

bdpt_status study_do_share(study *s) {
  bdpt_status status = BDPT_OK;
  cli_json j = {NULL, 0, 0, 0, 0};
  int missing, computed = 0;
  do {
    status = study_read_shares(s);
    missing = study_share_pass(s, &status);
    computed += s->share.computed;
  } while (status == BDPT_OK && missing > 0 && s->share.computed > 0);
  cli_progress_clear(&s->base.progress);
  if (status != BDPT_OK) return status;
  session_say(&s->base, "   share %d of %d: %d %s computed, in %s\n", s->o.shard, s->o.shards,
              computed, words_of(computed, "cell", "cells"), s->base.record.path);
  if (missing > 0)
    session_say(&s->base, "   what is left waits for other shares; the same command goes on when "
                "they are done\n");
  else session_say(&s->base, "   every cell is there: reproduce --gather\n");
  if (!s->base.json) return BDPT_OK;
  cli_json_open(&j, "share");
  cli_json_real(&j, "shard", s->o.shard);
  cli_json_real(&j, "of", s->o.shards);
  cli_json_real(&j, "computed", computed);
  cli_json_text(&j, "state", missing ? "waits" : "done");
  cli_json_close(&j);
  return cli_json_print(&j, s->base.ctx);
}
