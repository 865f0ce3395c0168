//! The commit log's part of `holdfast data`: shows its content, and whether it is intact.
//!
//! Damage of a log is not an error of these functions: they print all of it, and the returned error reports that there
//! was some.

use std::io::{self, Write};

use anyhow::bail;
use serde_json::{Value, json};

use super::super::show;
use crate::base::Alarm;
use crate::storage::DataDirView;
use crate::storage::commit_log::{
    self, End, Entry, LaneState, LogError, LogReport, NumberedAlarm, Record, Seen, TurnHead,
};

/// Prints the report. Returns an error if there is damage.
pub(super) fn verify(report: &LogReport, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        for segment in &report.segments {
            let (file, groups, records) = (segment.file.to_string_lossy(), segment.groups, segment.records);
            writeln!(out, "{}", json!({ "segment": file, "groups": groups, "records": records, "end": segment.end }))?;
        }
        for (lane, (last, trimmed)) in report.lanes.iter().enumerate() {
            writeln!(out, "{}", json!({ "lane": lane, "last": last.0, "trimmed": trimmed.0 }))?;
        }
        for damage in &report.damage {
            writeln!(out, "{}", damage_json(damage))?;
        }
        writeln!(out, "{}", json!({ "whole": report.damage.is_empty(), "end": report.end.map(end_code) }))?;
    } else {
        let row = |segment: &commit_log::SegmentReport| {
            let name = segment.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            [name, segment.groups.to_string(), segment.records.to_string(), show::bytes(segment.end)]
        };
        let rows: Vec<_> = report.segments.iter().map(row).collect();
        show::table(out, ["SEGMENT", "GROUPS>", "RECORDS>", "USED>"], &rows)?;
        for damage in &report.damage {
            writeln!(out, "{}", damage_text(damage))?;
        }
        if let Some(end) = report.end {
            writeln!(out, "The log is intact and {}.", end_text(end))?;
        }
    }
    out.flush()?;
    let is_newer = |found: &LogError| matches!(found, LogError::Version { .. } | LogError::Unknown { .. });
    match report.damage.len() {
        0 => Ok(()),
        _ if report.damage.iter().all(is_newer) => {
            bail!("a later version of holdfast wrote this log; check it with that one")
        }
        1 => bail!("the log is damaged in one place; restore the data directory from a backup"),
        places => bail!("the log is damaged in {places} places; restore the data directory from a backup"),
    }
}

fn damage_json(damage: &LogError) -> Value {
    match damage {
        LogError::Damaged { file, offset, why } => {
            json!({ "damaged": file.to_string_lossy(), "offset": offset, "why": why })
        }
        LogError::Version { file, version } => json!({ "newer": file.to_string_lossy(), "version": version }),
        LogError::Unknown { file, offset, what } => {
            json!({ "newer": file.to_string_lossy(), "offset": offset, "unknown": what })
        }
        other => json!({ "error": other.to_string() }),
    }
}

fn damage_text(damage: &LogError) -> String {
    match damage {
        LogError::Damaged { file, offset, why } => format!("{} at byte {offset}: {why}", file.display()),
        other => other.to_string(),
    }
}

fn end_code(end: End) -> &'static str {
    match end {
        End::Closed => "closed",
        End::Open => "open",
        End::Torn => "torn",
    }
}

fn end_text(end: End) -> &'static str {
    match end {
        End::Closed => "was closed cleanly",
        End::Open => "was not closed: the process that wrote it was killed, or is running",
        End::Torn => "ends with an unfinished group, which was never acknowledged; the next start removes it",
    }
}

/// Prints every record.
pub(super) fn inspect(data: &DataDirView, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if data.in_use() {
        note!("a server uses {}: what it is writing may be missing", data.root().display());
    }
    let mut lanes = Vec::new();
    let seen = commit_log::inspect(&data.log(), &mut |seen| {
        follow(&mut lanes, &seen);
        let shown = if json { writeln!(out, "{}", seen_json(&seen)) } else { writeln!(out, "{}", seen_text(&seen)) };
        shown.map_err(|error| LogError::Visitor(error.into()))
    });
    let end = match seen {
        Ok(end) => end,
        Err(error) => {
            out.flush()?;
            return Err(match error {
                // As itself, so that a closed output is recognised.
                LogError::Visitor(error) => match error.downcast::<io::Error>() {
                    Ok(error) => (*error).into(),
                    Err(error) => anyhow::Error::from_boxed(error),
                },
                error => error.into(),
            });
        }
    };
    if json {
        for (lane, at) in lanes.iter().enumerate() {
            writeln!(out, "{}", lane_json(lane, at))?;
        }
        writeln!(out, "{}", json!({ "end": end_code(end) }))?;
    } else {
        let row = |(lane, at): (usize, &LaneState)| {
            [lane.to_string(), format!("@{}", at.next.0 - 1), at.epoch.to_string(), at.trimmed.to_string()]
        };
        let rows: Vec<_> = lanes.iter().enumerate().map(row).collect();
        show::table(out, ["LANE", "LAST>", "EPOCH>", "RELEASED>"], &rows)?;
        writeln!(out, "The log {}.", end_text(end))?;
    }
    Ok(out.flush()?)
}

/// Updates the position of each lane.
fn follow(lanes: &mut Vec<LaneState>, seen: &Seen<'_>) {
    match seen {
        Seen::Segment { lanes: then, .. } => *lanes = then.to_vec(),
        Seen::Group { .. } => {}
        Seen::Record { entry, .. } => {
            let lane = &mut lanes[entry.lane.index()];
            (lane.next.0, lane.wall_ms) = (entry.lsn.0 + 1, entry.wall_ms);
            match entry.record {
                Record::Open(_) => lane.epoch = entry.lsn,
                Record::Trim { upto } => lane.trimmed = lane.trimmed.max(upto),
                Record::Turn(_) | Record::ClassRemoved { .. } | Record::Noop => {}
            }
        }
    }
}

fn lane_json(lane: usize, at: &LaneState) -> Value {
    let (last, epoch, trimmed) = (at.next.0 - 1, at.epoch.0, at.trimmed.0);
    json!({ "lane": lane, "last": last, "epoch": epoch, "trimmed": trimmed, "written": time_json(at.wall_ms) })
}

fn seen_json(seen: &Seen<'_>) -> Value {
    match seen {
        Seen::Segment { file, number, lanes } => {
            let lanes: Vec<_> = lanes.iter().enumerate().map(|(lane, at)| lane_json(lane, at)).collect();
            json!({ "segment": number, "file": file.to_string_lossy(), "lanes": lanes })
        }
        Seen::Group { offset, bytes, sequence, closed } => {
            json!({ "group": sequence, "offset": offset, "bytes": bytes, "closed": closed })
        }
        Seen::Record { offset, entry: Entry { lane, lsn, wall_ms, record, .. } } => {
            let mut shown = record_json(record);
            shown["written"] = time_json(*wall_ms);
            shown["lane"] = lane.index().into();
            shown["lsn"] = lsn.0.into();
            shown["offset"] = (*offset).into();
            shown
        }
    }
}

/// Returns the time, which version 1 of the log does not have.
fn time_json(wall_ms: u64) -> Value {
    if wall_ms == 0 { Value::Null } else { wall_ms.into() }
}

fn record_json(record: &Record<'_>) -> Value {
    match record {
        Record::Open(open) => json!({ "record": "open", "node": hex::encode(open.node), "time": open.wall_ms }),
        Record::ClassRemoved { class } => json!({ "record": "class-removed", "class": class }),
        Record::Trim { upto } => json!({ "record": "trim", "upto": upto.0 }),
        Record::Noop => json!({ "record": "noop" }),
        Record::Turn(turn) => {
            let head = &turn.head;
            let alarm = head.alarms.map(|alarms| alarms.set.map_or(json!("cleared"), alarm_json));
            let running = head.alarms.and_then(|alarms| alarms.running).map(alarm_json);
            json!({
                "record": "turn", "class": head.class, "id": hex::encode(head.id), "incarnation": head.incarnation,
                "previous": head.previous.0, "part": head.part, "last": head.last, "created": head.created,
                "deleted": head.deleted, "database": head.page_count, "bytes": head.bytes, "name": head.name,
                "alarm": alarm, "running": running, "pages": turn.pages.numbers().collect::<Vec<_>>(),
            })
        }
    }
}

fn alarm_json(numbered: NumberedAlarm) -> Value {
    let NumberedAlarm { serial, alarm: Alarm { due_ms, attempt, next_ms } } = numbered;
    json!({ "serial": serial, "due": due_ms, "attempt": attempt, "next": next_ms })
}

fn seen_text(seen: &Seen<'_>) -> String {
    match seen {
        Seen::Segment { file, .. } => format!("{}", file.display()),
        Seen::Group { offset, bytes, sequence, closed } => {
            let closed = if *closed { ", closes the log" } else { "" };
            format!("  group {sequence} at byte {offset}, {bytes} bytes{closed}")
        }
        Seen::Record { entry: Entry { lane, lsn, record, .. }, .. } => {
            format!("    {lane} {lsn} {}", record_text(record))
        }
    }
}

fn record_text(record: &Record<'_>) -> String {
    match record {
        Record::Open(open) => {
            format!("opened by {} at {}", hex::encode(open.node), show::time(open.wall_ms))
        }
        Record::ClassRemoved { class } => format!("class {} removed", show::printable(class)),
        Record::Trim { upto } => format!("trimmed up to {upto}"),
        Record::Noop => "nothing".into(),
        Record::Turn(turn) => {
            let pages = turn.pages.len();
            format!("turn of {}, {pages} pages", head_text(&turn.head))
        }
    }
}

fn head_text(head: &TurnHead<'_>) -> String {
    let mut text = format!("{}/@{}-{}", show::printable(head.class), hex::encode(head.id), head.incarnation);
    if let Some(name) = head.name {
        text += &format!(" named {}", show::printable(name));
    }
    for (said, what) in [(head.created, ", created"), (head.deleted, ", deleted")] {
        text += if said { what } else { "" };
    }
    if head.part > 0 || !head.last {
        text += &format!(", part {}{}", head.part, if head.last { ", the last" } else { "" });
    }
    let Some(alarms) = head.alarms else { return text };
    text += &match alarms.set {
        Some(set) => format!(", alarm {} at {}", set.serial, show::time(set.alarm.due_ms)),
        None => ", alarm cleared".into(),
    };
    match alarms.running {
        Some(running) => text + &format!(", alarm {} runs", running.serial),
        None => text,
    }
}
