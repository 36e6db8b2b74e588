"""The statements that lease and settle: each is one round trip and one transaction.

A lease is a row of `maniple_span`: a range of numbers under a token that its holder made. `due`
is when it lapses. A span without a holder waits to be leased again, from `due` on, and keeps its
token until then: so who held it can still acknowledge it.

Plans are made once, perhaps while the tables are empty. So tasks are looked up in lateral
subqueries with an order and a limit, which leave the planner one way: by index, range by range.
"""

# ruff: noqa: S608 - no text from outside stands in a statement

from __future__ import annotations

from typing import Final

NOW: Final = "coalesce($2::float8, extract(epoch FROM clock_timestamp())::float8)"

_UPTO: Final = "least(last, first + $3::bigint - (upto - (last - first + 1)) - 1)"

TAKE: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
late AS MATERIALIZED (
    SELECT $8::bool AND EXISTS (
        SELECT FROM maniple_span
        WHERE queue = $1::int AND holder IS NOT NULL AND due <= (SELECT now FROM moment)
    ) AS found),
back AS MATERIALIZED (
    SELECT token, first, last, due, since, attempt, lapses FROM maniple_span
    WHERE queue = $1::int AND holder IS NULL AND due <= (SELECT now FROM moment)
        AND NOT (SELECT found FROM late)
    ORDER BY due, first LIMIT $3::bigint FOR UPDATE SKIP LOCKED),
again AS MATERIALIZED (
    SELECT *, {_UPTO} AS stop FROM (
        SELECT *, sum(last - first + 1) OVER (ORDER BY due, first ROWS UNBOUNDED PRECEDING)::bigint
            AS upto FROM back) b
    WHERE upto - (last - first + 1) < $3::bigint),
moved AS (
    UPDATE maniple_span s SET token = $5::bigint, last = a.stop, holder = $6::bigint,
        due = (SELECT now FROM moment) + $4::float8, since = (SELECT now FROM moment)
    FROM again a WHERE s.token = a.token AND s.first = a.first),
rest AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, attempt, lapses)
    SELECT $1::int, token, stop + 1, last, due, since, attempt, lapses FROM again
    WHERE stop < last),
wanted AS MATERIALIZED (
    SELECT $3::bigint - coalesce(sum(stop - first + 1), 0)::bigint AS number FROM again),
head AS MATERIALIZED (
    SELECT place, first, last FROM maniple_fresh
    WHERE queue = $1::int AND (SELECT number FROM wanted) > 0 AND NOT (SELECT found FROM late)
    ORDER BY place LIMIT least($7::bigint, (SELECT number FROM wanted)) FOR UPDATE SKIP LOCKED),
fresh AS MATERIALIZED (
    SELECT *, least(last, first + w.number - (upto - (last - first + 1)) - 1) AS stop FROM (
        SELECT *, sum(last - first + 1) OVER (ORDER BY place ROWS UNBOUNDED PRECEDING)::bigint
            AS upto FROM head) h, wanted w
    WHERE upto - (last - first + 1) < w.number),
cut AS (
    UPDATE maniple_fresh f SET first = n.stop + 1 FROM fresh n
    WHERE f.queue = $1::int AND f.place = n.place AND n.stop < n.last),
used AS (
    DELETE FROM maniple_fresh f USING fresh n
    WHERE f.queue = $1::int AND f.place = n.place AND n.stop = n.last),
held AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, holder, attempt, lapses)
    SELECT $1::int, $5::bigint, first, stop, now + $4::float8, now, $6::bigint, 1, 0
    FROM fresh, moment)
SELECT t.number, uuid_send(t.id), t.data, m.attempt, m.place FROM (
    SELECT first, stop, attempt, NULL::bigint AS place FROM again
    UNION ALL SELECT first, stop, 1, place FROM fresh) m
CROSS JOIN LATERAL (
    SELECT number, id, data FROM maniple_task
    WHERE queue = $1::int AND number BETWEEN m.first AND m.stop ORDER BY number
    LIMIT m.stop - m.first + 1) t
UNION ALL SELECT 0, NULL, NULL, NULL, NULL FROM late WHERE found
"""
"""Lease tasks: 1 queue, 2 now, 3 limit, 4 ttl, 5 token, 6 holder, 7 most ranges, 8 look for lapses.

A row with the number 0 says that leases have lapsed, and nothing was taken.
"""

RECALL: Final = """
SELECT t.number, uuid_send(t.id), t.data, s.attempt, NULL::bigint FROM maniple_span s
CROSS JOIN LATERAL (
    SELECT number, id, data FROM maniple_task
    WHERE queue = s.queue AND number BETWEEN s.first AND s.last ORDER BY number
    LIMIT s.last - s.first + 1) t
WHERE s.token = $1::bigint AND s.holder = $2::bigint
"""
"""What a lease took whose answer was lost: 1 token, 2 holder."""

# `held` is what we name of a token, `mine` the rows that it stands in: they go, and their parts
# that were not named come back as they were
_SETTLE: Final = """
WITH named AS MATERIALIZED (
    SELECT token, range_agg(int8range(low, high, '[]')) AS held
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r(token, low, high) GROUP BY token),
mine AS (
    DELETE FROM maniple_span s USING named n
    WHERE s.token = n.token AND n.held && int8range(s.first, s.last, '[]')
    RETURNING s.*, n.held),
rest AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, holder, attempt, lapses)
    SELECT queue, token, lower(part), upper(part) - 1, due, since, holder, attempt, lapses
    FROM mine, unnest(int8multirange(int8range(first, last, '[]')) - held) AS part)
"""
_PARTS: Final = "unnest(int8multirange(int8range(first, last, '[]')) * held) AS part"
_MINE: Final = "SELECT token, first, last FROM mine"

ACK: Final = f"""{_SETTLE},
receipt AS (
    UPDATE maniple_holder SET receipt = $4::bigint,
        kept = coalesce((SELECT range_agg(part) FROM mine, {_PARTS}), '{{}}'::int8multirange)
            + CASE WHEN receipt = $4::bigint THEN kept ELSE '{{}}'::int8multirange END
    WHERE holder = $5::bigint)
{_MINE}"""
"""Let tasks be done: 1-3 token, low, high of runs; 4 receipt, 5 holder. Gives what was ours."""

RECEIPT: Final = """
SELECT ARRAY(SELECT number FROM unnest($3::bigint[]) AS n(number) WHERE NOT kept @> number)
FROM maniple_holder WHERE holder = $2::bigint AND receipt = $1::bigint
"""
"""What an acknowledgement did not find ours whose answer was lost: 1 receipt, 2 holder, 3 numbers.

No row: it was not carried out.
"""

_CLOCK: Final = "coalesce({}::float8, extract(epoch FROM clock_timestamp())::float8)"
NACK: Final = f"""{_SETTLE},
moment AS MATERIALIZED (SELECT {_CLOCK.format("$4")} AS now),
back AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, attempt, lapses)
    SELECT queue, $5::bigint, lower(part), upper(part) - 1,
        CASE WHEN $6::float8 > 0 THEN now + $6::float8 ELSE 0 END, now, attempt + $7::int, lapses
    FROM moment, mine, {_PARTS})
{_MINE}"""
"""Give tasks back: 1-3 runs; 4 now, 5 new token, 6 delay, 7 attempts to add."""

EXTEND: Final = f"""{_SETTLE},
moment AS MATERIALIZED (SELECT {_CLOCK.format("$4")} AS now),
again AS (
    INSERT INTO maniple_span (queue, token, first, last, due, since, holder, attempt, lapses)
    SELECT queue, token, lower(part), upper(part) - 1, now + $5::float8, since, $6::bigint,
        attempt, lapses
    FROM moment, mine, {_PARTS})
{_MINE}"""
"""Renew leases: 1-3 runs; 4 now, 5 ttl, 6 holder. Gives what was ours."""

FAIL: Final = f"""{_SETTLE},
kept AS (
    INSERT INTO maniple_failed (queue, number, attempt, reason)
    SELECT m.queue, f.number, m.attempt, f.reason
    FROM unnest($1::bigint[], $2::bigint[], $4::bytea[]) AS f(token, number, reason)
    JOIN mine m ON m.token = f.token AND f.number BETWEEN m.first AND m.last
    RETURNING 1)
INSERT INTO maniple_tally (queue, slot, failed) SELECT $5::int, $6::int, count(*) FROM kept
ON CONFLICT (queue, slot) DO UPDATE SET failed = maniple_tally.failed + excluded.failed
"""
"""Set tasks aside: 1-3 runs of one task each; 4 reasons, 5 queue, 6 slot of the tally."""

FOUND: Final = """
WITH found AS (
    DELETE FROM maniple_failed f USING unnest($1::bigint[], $2::bigint[]) AS n(token, number)
    WHERE f.queue = $3::int AND f.number = n.number AND f.token = n.token RETURNING f.number),
tally AS (
    INSERT INTO maniple_tally (queue, slot, failed) SELECT $3::int, $4::int, -count(*) FROM found
    ON CONFLICT (queue, slot) DO UPDATE SET failed = maniple_tally.failed + excluded.failed)
SELECT number FROM found
"""
"""Take what was given up as lost out of the failures: 1 tokens, 2 numbers, 3 queue, 4 slot."""

STATS: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
fresh AS (
    SELECT coalesce(sum(last - first + 1), 0)::bigint AS number, min(since) AS since
    FROM maniple_fresh WHERE queue = $1::int),
span AS (
    SELECT coalesce(sum(last - first + 1) FILTER (WHERE due <= now), 0)::bigint AS back,
        coalesce(sum(last - first + 1) FILTER (WHERE due > now AND holder IS NULL), 0)::bigint
            AS delayed,
        coalesce(sum(last - first + 1) FILTER (WHERE due > now AND holder IS NOT NULL), 0)::bigint
            AS leased,
        min(greatest(since, due)) FILTER (WHERE due <= now) AS since
    FROM (
        SELECT * FROM maniple_span WHERE queue = $1::int AND holder IS NULL
        UNION ALL SELECT * FROM maniple_span WHERE queue = $1::int AND holder IS NOT NULL) s,
        moment)
SELECT fresh.number + span.back, span.delayed, span.leased,
    (SELECT tasks FROM maniple_queue WHERE queue = $1::int),
    (SELECT coalesce(sum(failed), 0)::bigint FROM maniple_tally WHERE queue = $1::int),
    now - least(fresh.since, span.since)
FROM fresh, span, moment
"""
"""Count: 1 queue, 2 now. Its cost grows with ranges, not with tasks."""

LOOK: Final = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now)
SELECT now, least(
        (SELECT due FROM maniple_span WHERE queue = $1::int AND holder IS NOT NULL
            ORDER BY due LIMIT 1),
        (SELECT due FROM maniple_span WHERE queue = $1::int AND holder IS NULL AND due > now
            ORDER BY due LIMIT 1)),
    EXISTS (SELECT FROM maniple_fresh WHERE queue = $1::int) OR EXISTS (
        SELECT FROM maniple_span WHERE queue = $1::int AND holder IS NULL AND due <= now),
    EXISTS (SELECT FROM maniple_holder WHERE queue = $1::int AND holder <> $3::bigint)
FROM moment
"""
"""Before waiting: now, when something may come, whether it is there, whether others work.

1 queue, 2 now, 3 holder.
"""
