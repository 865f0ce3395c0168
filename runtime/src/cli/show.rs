//! Output on a terminal: tables, sizes, times, colours. Text that guests or callers chose never reaches a terminal raw,
//! because it could contain control sequences.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Whether an output shows colours.
#[derive(Clone, Copy)]
pub struct Colours(bool);

/// ANSI "select graphic rendition" parameters.
#[derive(Clone, Copy)]
pub enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Colours {
    /// Returns colours if standard output is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Self {
        Self(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    #[cfg(test)]
    pub const NONE: Self = Self(false);

    /// Returns the text in this colour.
    pub fn paint(self, colour: Colour, text: &str) -> Cow<'_, str> {
        if self.0 { format!("\x1b[{}m{text}\x1b[0m", colour as u8).into() } else { text.into() }
    }
}

/// Writes columns as wide as their widest cell, separated by two spaces; columns whose header ends in `>` are aligned
/// to the right. The last one is not padded.
pub fn table<const N: usize>(out: &mut impl Write, header: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let right = header.map(|title| title.ends_with('>'));
    let header = header.map(|title| title.trim_end_matches('>').to_owned());
    let widths: [usize; N] = std::array::from_fn(|column| {
        std::iter::once(&header).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            line += if column == 0 { "" } else { "  " };
            match right[column] {
                true => line.extend([padding.as_str(), cell]),
                false => line.extend([cell, padding.as_str()]),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes labelled values, one a line, aligned.
pub fn fields(out: &mut impl Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    fields.iter().try_for_each(|(label, value)| writeln!(out, "{label:width$}  {value}"))
}

/// Formats a size as `512 B`, `61.2 KiB`, `10.0 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // A value that would be shown as 1024.0 is shown in the next unit.
    while value >= 1023.95 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Formats a duration as `20 ms`, `1.2 s`, `5 min`, `3 h`, `12 d`: one figure of sufficient precision.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Formats milliseconds since the Unix epoch as `2026-01-31T23:59:59.123Z`.
pub fn time(milliseconds: u64) -> String {
    let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
    let (seconds, milliseconds) = (rest / 1_000, rest % 1_000);
    // Civil date from days: years begin in March, so that a leap day is the last day of its year; 400 years repeat.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Returns the text with its control characters escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect::<String>().into()
}

/// Formats an error with its causes, each once.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>() {
        // Errors with a fixed text for users contain their cause themselves.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Reports whether the error is about an output whose reader has closed it.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let read = std::fs::read("/none").context("cannot read /none: No such file or directory (os error 2)");
        assert_eq!(
            chain(&read.context("no file").unwrap_err()),
            "no file: cannot read /none: No such file or directory (os error 2)"
        );
        assert_eq!(chain(&anyhow::anyhow!("b").context("a")), "a: b");
    }

    #[test]
    fn tables_are_aligned() {
        let mut out = Vec::new();
        let rows = [["counter", "9.5 KiB", "1"], ["é", "10.0 KiB", "12"]].map(|row| row.map(str::to_owned));
        table(&mut out, ["CLASS", "SIZE>", "NOTE"], &rows).unwrap();
        let expected = "CLASS        SIZE  NOTE\ncounter   9.5 KiB  1\né        10.0 KiB  12\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn sizes_and_durations_are_for_people() {
        let sizes = [0, 1023, 1024, 62_668, (1 << 20) - 1, 1 << 20, 10 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "61.2 KiB", "1.0 MiB", "1.0 MiB", "10.0 GiB", "16.0 EiB"]);
        let durations =
            [20, 1_234, 59_000, 300_000, 7_200_000, 1_000_000_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(durations, ["20 ms", "1.2 s", "59.0 s", "5 min", "2 h", "11 d"]);
    }

    #[test]
    fn times_are_rfc_3339() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(milliseconds), text);
        }
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }
}
