//! `_hf_meta`: which object a database file belongs to, kept in the file itself.
//!
//! The first applied turn writes the identity. A file without one was left by a crash before that, and does not count.
//! The name is added when it becomes known. Rows: `class`, `id`, `incarnation`, perhaps `name`, and `alarm` while one
//! is set (numbers: when it is due, attempts, when it is tried next, and its serial number, which files of data format
//! 2 do not have); `running-alarm`, in the same form, while a handler is suspended or is tried again.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::commit_log::{Alarms, NumberedAlarm};
use crate::base::{Alarm, ObjectAddress, ObjectName};

const READ_ALARM: &str = "SELECT value FROM _hf_meta WHERE key IN ('alarm', 'running-alarm') ORDER BY key LIMIT 1";

/// What a database says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub class: String,
    pub id: String,
    pub name: Option<ObjectName>,
    /// As they were read.
    pub alarms: Alarms,
}

impl Identity {
    /// Reads it; none if no turn was ever applied.
    pub fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        let mut statement = match connection.prepare("SELECT key, value FROM _hf_meta") {
            // Asked only now, because nearly every file has it.
            Err(_) if !connection.table_exists(None, "_hf_meta")? => return Ok(None),
            prepared => prepared?,
        };
        let mut identity = Self::default();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = match row.get_ref(1)? {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                _ => continue,
            };
            match row.get_ref(0)?.as_str()? {
                "class" => identity.class = text,
                "id" => identity.id = text,
                "name" => identity.name = ObjectName::parse(&text).ok(),
                "alarm" => identity.alarms.set = parse_alarm(&text),
                "running-alarm" => identity.alarms.running = parse_alarm(&text),
                _ => {}
            }
        }
        Ok(if identity.id.is_empty() { None } else { Some(identity) })
    }

    /// Reads the row of the alarm in a file of unknown origin, that which is set or else the running one: the inner
    /// value is none if it is not an alarm.
    pub fn read_alarm(connection: &Connection) -> rusqlite::Result<Option<Option<Alarm>>> {
        let mut statement = connection.prepare(READ_ALARM)?;
        let read = |row: &rusqlite::Row<'_>| {
            let numbered = row.get_ref(0)?.as_str().ok().and_then(parse_alarm);
            Ok(numbered.map(|numbered| numbered.alarm))
        };
        statement.query_row([], read).optional()
    }

    /// Writes it, inside the turn that is being applied.
    pub fn write(connection: &Connection, address: &ObjectAddress, incarnation: u32) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT INTO _hf_meta (key, value) VALUES ('class', ?1), ('id', ?2), ('incarnation', ?3)",
            (address.key.as_str(), address.id.to_string(), incarnation),
        )?;
        Ok(())
    }

    /// Writes the name, inside the turn that is being applied.
    pub fn write_name(connection: &Connection, name: &ObjectName) -> rusqlite::Result<()> {
        connection.execute("INSERT OR REPLACE INTO _hf_meta (key, value) VALUES ('name', ?1)", [name.as_str()])?;
        Ok(())
    }

    /// Writes the alarms, inside the turn that is being applied. `before` are those of the file.
    pub fn write_alarms(connection: &Connection, alarms: Alarms, before: Alarms) -> rusqlite::Result<()> {
        for (key, alarm, before) in
            [("alarm", alarms.set, before.set), ("running-alarm", alarms.running, before.running)]
        {
            match alarm {
                _ if alarm == before => 0,
                Some(NumberedAlarm { serial, alarm: Alarm { due_ms, attempt, next_ms } }) => connection.execute(
                    "INSERT OR REPLACE INTO _hf_meta (key, value) VALUES (?1, ?2)",
                    (key, format!("{due_ms} {attempt} {next_ms} {serial}")),
                )?,
                None => connection.execute("DELETE FROM _hf_meta WHERE key = ?1", [key])?,
            };
        }
        Ok(())
    }
}

fn parse_alarm(text: &str) -> Option<NumberedAlarm> {
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    let alarm = Alarm { due_ms: next()?, attempt: next()?.try_into().ok()?, next_ms: next()? };
    Some(NumberedAlarm { alarm, serial: next().unwrap_or(0) })
}
