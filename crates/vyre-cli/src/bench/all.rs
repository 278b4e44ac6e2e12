//! `vyre bench all`: every bench, one after another. One that fails is reported, and the others still run.

use super::machine::Machine;
use super::report::{Broken, Report, Run};
use super::{BENCHES, Bench, Common};
use crate::{Failure, print};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Fewer samples: to see that all work, not to compare.
    #[arg(long)]
    quick: bool,
}

/// How much a bench measures when all run.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// As much as the bench measures by itself.
    Full,
    /// A few seconds of each.
    Quick,
}

impl Effort {
    /// The one or the other.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Effort::Full => full,
            Effort::Quick => quick,
        }
    }
}

/// Runs all, and gives what they found beside the messages of the validation layer. Text is printed as it comes.
pub(crate) fn run(arguments: &Arguments) -> Result<(Run, u64), Failure> {
    let effort = if arguments.quick { Effort::Quick } else { Effort::Full };
    let machine = Machine::of(&arguments.common)?;
    if !arguments.common.json {
        print(format_args!("{machine}\n"))?;
    }
    let (reports, broken, messages) = run_each(BENCHES, &arguments.common, effort);
    Ok((Run { machine, reports, broken }, messages))
}

fn run_each(benches: &[(&'static str, Bench)], common: &Common, effort: Effort) -> (Vec<Report>, Vec<Broken>, u64) {
    let (mut reports, mut broken, mut messages) = (Vec::new(), Vec::new(), 0);
    for (place, (name, bench)) in benches.iter().enumerate() {
        eprintln!("vyre: bench {name}, {} of {}", place + 1, benches.len());
        let shown = bench(common.clone(), effort).and_then(|found| {
            if !common.json {
                print(format_args!("\n== {name}\n{}", found.0))?;
            }
            Ok(found)
        });
        match shown {
            Ok((report, more)) => {
                messages += more;
                reports.push(report);
            }
            Err(error) => {
                eprintln!("vyre: bench {name} failed: {error}");
                broken.push(Broken { bench: name, error: error.to_string() });
            }
        }
    }
    (reports, broken, messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceArgument;

    #[test]
    fn benches_behind_a_broken_one_still_run() {
        fn found(bench: &'static str) -> Report {
            Report {
                bench,
                engine: "none".into(),
                workers: 1,
                tables: Vec::new(),
                ratios: Vec::new(),
                plots: Vec::new(),
                timelines: Vec::new(),
                notes: Vec::new(),
            }
        }
        let benches: [(&str, Bench); 3] = [
            ("first", |_, _| Err("the disk is full".into())),
            ("second", |_, effort| Ok((found("second"), effort.pick(2, 1)))),
            ("third", |_, effort| Ok((found("third"), effort.pick(2, 1)))),
        ];
        let device = DeviceArgument { device: "reference".into() };
        let common = Common { device, workers: None, json: false, html: None };
        let (reports, broken, messages) = run_each(&benches, &common, Effort::Full);
        assert_eq!(reports.iter().map(|report| report.bench).collect::<Vec<_>>(), ["second", "third"]);
        assert_eq!((broken[0].bench, broken[0].error.as_str(), broken.len()), ("first", "the disk is full", 1));
        assert_eq!(messages, 4);
    }
}
