//! What a bench found: one value, printed as text, as JSON, or as a section of an HTML page.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;

/// What `vyre bench all` found, or a page shows.
#[derive(Serialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) reports: Vec<Report>,
    /// Benches that gave none.
    pub(crate) broken: Vec<Broken>,
}

/// A bench that failed.
#[derive(Serialize)]
pub(crate) struct Broken {
    pub(crate) bench: &'static str,
    pub(crate) error: String,
}

/// One bench on one engine.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The subcommand.
    pub(crate) bench: &'static str,
    pub(crate) engine: String,
    pub(crate) workers: u32,
    pub(crate) tables: Vec<Table>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) timelines: Vec<Timeline>,
    /// What a reader has to know to read the figures right.
    pub(crate) notes: Vec<String>,
}

/// Figures of one unit.
#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// Unit of all figures.
    pub(crate) unit: &'static str,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

/// A line of a table.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// One for each column.
    pub(crate) values: Vec<f64>,
}

/// Two figures of the same run, one over the other.
#[derive(Serialize)]
pub(crate) struct Ratio {
    pub(crate) what: String,
    /// Of the medians over all rounds.
    pub(crate) value: f64,
    /// Smallest and largest of the rounds.
    pub(crate) spread: (f64, f64),
    pub(crate) goal: Option<Goal>,
}

/// What a ratio should be.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(crate) fn is_reached(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(goal) => value >= goal,
            Goal::AtMost(goal) => value <= goal,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtLeast(goal) => write!(f, "at least {goal}"),
            Goal::AtMost(goal) => write!(f, "at most {goal}"),
        }
    }
}

/// Curves over one pair of axes.
#[derive(Serialize)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Serialize)]
pub(crate) struct Axis {
    /// What it measures, with its unit.
    pub(crate) label: &'static str,
    /// Whether it is logarithmic; all values are positive then.
    pub(crate) log: bool,
}

#[derive(Serialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// By rising x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What happened when.
#[derive(Serialize)]
pub(crate) struct Timeline {
    pub(crate) title: String,
    /// What spans may be: those of the first two kinds lie behind the others.
    pub(crate) kinds: Vec<String>,
    pub(crate) tracks: Vec<Track>,
}

/// What one of several did.
#[derive(Serialize)]
pub(crate) struct Track {
    pub(crate) name: String,
    pub(crate) spans: Vec<Span>,
}

#[derive(Serialize)]
pub(crate) struct Span {
    /// Its place among the kinds.
    pub(crate) kind: usize,
    /// Microseconds from the beginning.
    pub(crate) start: f64,
    pub(crate) end: f64,
}

impl Ratio {
    /// From what each round found, smallest to largest, and their median.
    pub(crate) fn of_rounds(what: impl Into<String>, mut rounds: Vec<f64>, goal: Option<Goal>) -> Option<Ratio> {
        rounds.sort_by(f64::total_cmp);
        let spread = (*rounds.first()?, *rounds.last()?);
        Some(Ratio { what: what.into(), value: rounds[rounds.len() / 2], spread, goal })
    }
}

/// For a reader at a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.engine)?;
        for table in &self.tables {
            writeln!(f, "\n{table}")?;
        }
        if !self.ratios.is_empty() {
            writeln!(f)?;
        }
        for ratio in &self.ratios {
            writeln!(f, "{ratio}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = format!("{}, {}", self.title, self.unit);
        let names = self.rows.iter().map(|row| row.name.chars().count()).chain([heading.chars().count()]);
        let width = names.max().unwrap_or(0) + 2;
        write!(f, "{heading:<width$}")?;
        let widths: Vec<_> = self.columns.iter().map(|column| (column.chars().count() + 2).max(12)).collect();
        for (column, width) in self.columns.iter().zip(&widths) {
            write!(f, "{column:>width$}")?;
        }
        for row in &self.rows {
            write!(f, "\n{:<width$}", row.name)?;
            for (value, width) in row.values.iter().zip(&widths) {
                write!(f, "{:>width$}", figure(*value))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.spread;
        write!(f, "{}: {} (rounds: {} to {})", self.what, figure(self.value), figure(low), figure(high))?;
        match self.goal {
            Some(goal) if goal.is_reached(self.value) => write!(f, ", goal {goal}: reached"),
            Some(goal) => write!(f, ", goal {goal}: not reached"),
            None => Ok(()),
        }
    }
}

/// A figure with three or more digits that say something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_whether_they_reach_their_goal() {
        let ratio = |goal| Ratio::of_rounds("theirs over ours", vec![3.0, 1.0, 200.0], Some(goal)).unwrap();
        let text = "theirs over ours: 3.00 (rounds: 1.00 to 200), goal ";
        assert_eq!(ratio(Goal::AtLeast(2.5)).to_string(), format!("{text}at least 2.5: reached"));
        assert_eq!(ratio(Goal::AtMost(2.5)).to_string(), format!("{text}at most 2.5: not reached"));
        assert!(Ratio::of_rounds("nothing", Vec::new(), None).is_none());
    }

    #[test]
    fn columns_of_a_table_stand_below_each_other() {
        let row = |name: &str, values| Row { name: name.into(), values };
        let table = Table {
            title: "rate".into(),
            unit: "1/s",
            columns: vec!["median".into(), "a longer column".into()],
            rows: vec![row("a", vec![1.0, 12_345.6]), row("a longer name", vec![0.001, 0.0])],
        };
        let lines: Vec<_> = table.to_string().lines().map(str::len).collect();
        assert_eq!(lines, [lines[0]; 3]);
    }
}
