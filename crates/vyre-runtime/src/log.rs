//! What slots print: format strings, and the debug log read as lines.

use std::collections::VecDeque;
use std::fmt::Write;

use vyre_protocol::debuglog::{LOG_ARGS, LogReader, LogRecord};
use vyre_protocol::geometry::limits;

/// A format string cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A placeholder of no known type.
    #[error(
        "'{{{found}}}' at byte {offset} is no placeholder; there are {{u}}, {{i}}, {{x}} and {{f}}, and {{{{ for a brace"
    )]
    Placeholder {
        /// What stands between the braces.
        found: String,
        /// Where its brace stands.
        offset: usize,
    },
    /// More placeholders than a record has arguments.
    #[error("{given} placeholders given, a record holds {LOG_ARGS}; print twice")]
    TooMany {
        /// Placeholders given.
        given: usize,
    },
}

/// A line that a slot printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The record behind it.
    pub record: LogRecord,
    /// Its text.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Unsigned,
    Signed,
    Hexadecimal,
    Float,
}

/// The format strings of a runtime, and where it is in the log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    formats: Vec<Vec<Piece>>,
    pub(crate) reader: LogReader,
    /// Lines that a recorder came across, oldest first.
    pub(crate) waiting: VecDeque<LogRecord>,
    /// Those of them that nobody read in time.
    pub(crate) forgotten: u64,
}

/// Most lines that wait to be read.
const MOST_WAITING: usize = limits::LOG_RECORDS as usize;

impl Log {
    /// Registers a format string and gives its number.
    pub(crate) fn register(&mut self, format: &str) -> Result<u32, FormatError> {
        let pieces = parse(format)?;
        let given = pieces.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count();
        if given > LOG_ARGS {
            return Err(FormatError::TooMany { given });
        }
        self.formats.push(pieces);
        Ok(self.formats.len() as u32 - 1)
    }

    /// Keeps a line for who reads lines.
    pub(crate) fn keep(&mut self, line: LogRecord) {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.forgotten += 1;
        }
        self.waiting.push_back(line);
    }

    pub(crate) fn line(&self, record: LogRecord) -> LogLine {
        let mut text = String::new();
        let mut args = record.args[..record.arg_count as usize].iter();
        for piece in self.formats.get(record.format as usize).into_iter().flatten() {
            // Writing to a String cannot fail.
            let _ = match (piece, piece_arg(piece, &mut args)) {
                (Piece::Text(literal), _) => write!(text, "{literal}"),
                (_, None) => write!(text, "?"),
                (Piece::Unsigned, Some(arg)) => write!(text, "{arg}"),
                (Piece::Signed, Some(arg)) => write!(text, "{}", arg.cast_signed()),
                (Piece::Hexadecimal, Some(arg)) => write!(text, "{arg:#x}"),
                (Piece::Float, Some(arg)) => write!(text, "{}", f32::from_bits(arg)),
            };
        }
        if record.format as usize >= self.formats.len() {
            let _ = write!(text, "format {} {:x?}", record.format, args.as_slice());
        }
        LogLine { record, text }
    }
}

fn piece_arg<'a>(piece: &Piece, args: &mut impl Iterator<Item = &'a u32>) -> Option<u32> {
    if matches!(piece, Piece::Text(_)) { None } else { args.next().copied() }
}

fn parse(format: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while !rest.is_empty() {
        let brace = rest.find('{').unwrap_or(rest.len());
        let (literal, behind) = rest.split_at(brace);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        if let Some(escaped) = behind.strip_prefix("{{") {
            pieces.push(Piece::Text("{".into()));
            rest = escaped;
        } else if let Some(placeholder) = behind.strip_prefix('{') {
            let end = placeholder.find('}').unwrap_or(placeholder.len());
            pieces.push(match &placeholder[..end] {
                "u" => Piece::Unsigned,
                "i" => Piece::Signed,
                "x" => Piece::Hexadecimal,
                "f" => Piece::Float,
                found => {
                    let offset = format.len() - behind.len();
                    return Err(FormatError::Placeholder { found: found.into(), offset });
                }
            });
            rest = placeholder.get(end + 1..).unwrap_or_default();
        } else {
            rest = behind;
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vyre_protocol::geometry::Priority;

    fn line(format: &str, args: &[u32]) -> String {
        let mut log = Log::default();
        let format = log.register(format).unwrap();
        let mut all = [0; LOG_ARGS];
        all[..args.len()].copy_from_slice(args);
        let (priority, arg_count) = (Priority::Normal, args.len() as u32);
        log.line(LogRecord { format, worker: 0, tenant: 0, wire_ticket: 0, priority, arg_count, args: all }).text
    }

    #[test]
    fn arguments_have_their_types() {
        assert_eq!(line("", &[]), "");
        assert_eq!(line("a {u} b {i} {x}{f}!", &[7, u32::MAX, 255, 1.5_f32.to_bits()]), "a 7 b -1 0xff1.5!");
        assert_eq!(line("{{u} {u}", &[3]), "{u} 3");
        assert_eq!(line("{u} {u}", &[3]), "3 ?", "an argument that was not printed");
    }

    #[test]
    fn bad_formats_say_where() {
        let error = |format: &str| Log::default().register(format).unwrap_err();
        assert_eq!(error("ab {d}"), FormatError::Placeholder { found: "d".into(), offset: 3 });
        assert_eq!(error("x{"), FormatError::Placeholder { found: String::new(), offset: 1 });
        assert_eq!(error("{u}{u}{u}{u}{u}"), FormatError::TooMany { given: 5 });
    }
}
