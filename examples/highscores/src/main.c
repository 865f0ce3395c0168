/* The best scores of a game: one object per game. */
#include <errno.h>
#include <stdlib.h>

#include <holdfast.h>

static hf_result init(void) {
    HF_TRY(hf_sql(NULL, "CREATE TABLE IF NOT EXISTS score (player TEXT PRIMARY KEY, points INTEGER NOT NULL) STRICT;"
                        "CREATE INDEX IF NOT EXISTS score_points ON score (points DESC)"));
    return HF_DONE;
}

/* Parses a whole number of a query parameter; false if it is not a number. */
static bool number(const hf_request *request, const char *name, long long *value) {
    hf_text given = hf_query(request, name);
    if (!given.data) return false;
    char *end;
    errno = 0;
    *value = strtoll(given.data, &end, 10);
    return given.size && !*end && !errno;
}

/* Keeps the better of the old and the new score, and answers its rank. */
static hf_result submit(const hf_request *request, hf_response *response) {
    hf_text player = hf_query(request, "player");
    long long points;
    if (!player.size || !number(request, "points", &points))
        return hf_answer(response, 400, "say who and how many: POST /?player=NAME&points=NUMBER\n");

    HF_TRY(hf_sql(NULL, "INSERT INTO score VALUES (?, ?) ON CONFLICT DO UPDATE SET points = max(points, excluded.points)",
                  hf_text_value(player), hf_int(points)));
    hf_rows rows;
    HF_TRY(hf_sql(&rows, "SELECT points, (SELECT count(*) FROM score AS better WHERE better.points > score.points) + 1 "
                         "FROM score WHERE player = ?", hf_text_value(player)));
    if (!hf_next(&rows)) return hf_fail("lost", "the score that was just stored is not there");
    hf_log(HF_INFO, "%s has %lld", player.data, points);
    return hf_answer(response, 200, "%s is number %lld with %lld\n", player.data, (long long)rows.row[1].integer,
                     (long long)rows.row[0].integer);
}

static hf_result show(const hf_request *request, hf_response *response) {
    long long top = 10;
    if (hf_query(request, "top").data && (!number(request, "top", &top) || top < 1 || top > 100))
        return hf_answer(response, 400, "`top` is 1 to 100\n");
    hf_rows rows;
    HF_TRY(hf_sql(&rows, "SELECT rank() OVER (ORDER BY points DESC), player, points FROM score ORDER BY points DESC, player LIMIT ?",
                  hf_int(top)));
    hf_text table = hf_str("");
    while (hf_next(&rows))
        table = hf_format("%s%2lld  %-12s %8lld\n", table.data, (long long)rows.row[0].integer, rows.row[1].text.data,
                          (long long)rows.row[2].integer);
    HF_TRY(rows.error);
    return hf_answer(response, 200, "%s", table.size ? table.data : "nobody has played yet\n");
}

static hf_result fetch(const hf_request *request, hf_response *response) {
    if (!hf_equal(hf_path(request), "/")) return hf_answer(response, 404, "there is only /\n");
    if (hf_equal(request->method, "POST")) return submit(request, response);
    if (hf_equal(request->method, "GET")) return show(request, response);
    return hf_answer(response, 405, "GET or POST\n");
}

HF_INIT(init)
HF_FETCH(fetch)
