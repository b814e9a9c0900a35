//! An explanation for people.

use mesh_jwt::explain::{Decision, Explanation, Step};

use crate::deny_codes;
use crate::format::{BOLD, ERROR, GOOD};

pub(crate) fn print(explanation: &Explanation) {
    for Step { name, passed, saw, wanted } in &explanation.steps {
        let (style, word) = if *passed { (GOOD, "ok") } else { (ERROR, "no") };
        anstream::println!("{style}{word}{style:#}  {BOLD}{name}{BOLD:#}");
        anstream::println!("      saw     {saw}\n      wanted  {wanted}");
    }
    match &explanation.decision {
        Decision::Passes { code } => {
            anstream::println!("\n{GOOD}{code}{GOOD:#}: the request passes");
            for (name, value) in &explanation.identity {
                anstream::println!("      {name}: {value}");
            }
        }
        Decision::Refused { code, status, detail } => {
            let report =
                if explanation.is_report_mode { ", but it passes: mode is report" } else { "" };
            anstream::println!("\n{ERROR}{status} {code}{ERROR:#}: {detail}{report}");
            if let Some(told) = deny_codes::all().iter().find(|told| told.code == *code) {
                anstream::println!("{}", deny_codes::plain(told.mend));
            }
        }
        Decision::NeedsKeys { .. } => {}
    }
}
