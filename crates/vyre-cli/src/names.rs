//! File names in lines of checksums: b3sum's format and its escapes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// `hash  name`, escaped where the name would break the line; then a backslash stands before the hash.
pub(crate) fn format_line(hash: &blake3::Hash, path: &Path) -> String {
    let name = path.to_string_lossy();
    let escaped = escape(&name);
    let mark = if matches!(escaped, Cow::Owned(_)) { "\\" } else { "" };
    format!("{mark}{}  {escaped}", hash.to_hex())
}

/// The name without line breaks.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['\\', '\n', '\r']) {
        name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").into()
    } else {
        name.into()
    }
}

/// Reads a line of checksums. The error says what is wrong with it.
pub(crate) fn parse_line(line: &str) -> Result<(blake3::Hash, PathBuf), &'static str> {
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hash, name) = line.split_once("  ").ok_or("no two spaces between hash and name")?;
    let hash = blake3::Hash::from_hex(hash).map_err(|_| "the hash is not 64 hexadecimal digits")?;
    if name.is_empty() {
        return Err("no name");
    }
    if name.contains(['\0', '\u{fffd}']) {
        return Err("the name is not one of a file");
    }
    let name = if escaped { unescape(name)? } else { name.to_owned() };
    Ok((hash, name.into()))
}

fn unescape(name: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        out.push(match (character, character == '\\') {
            (_, false) => character,
            (_, true) => match characters.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('r') => '\r',
                _ => return Err("a backslash that escapes nothing"),
            },
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_round_trip() {
        let hash = blake3::hash(b"x");
        for name in ["a", "a b", "  ", "a\\b", "a\nb\r", "\\n", "ü"] {
            let line = format_line(&hash, Path::new(name));
            assert!(!line.contains('\n'));
            assert_eq!(parse_line(&line), Ok((hash, name.into())), "{line}");
        }
        assert!(format_line(&hash, Path::new("a\nb")).starts_with('\\'));
    }

    #[test]
    fn malformed_lines_are_refused() {
        let hex = "0".repeat(64);
        let lines = ["", "abc", "zz  name", &format!("{hex} name"), &format!("{hex}  "), &format!("\\{hex}  a\\x")];
        for line in lines {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
