//! `selvedge schema`

use crate::cli::print::Format;
use crate::cli::{Exit, Failure, Output};

/// Prints the manifest's JSON Schema: JSON unless YAML is asked for.
pub(super) fn run(output: Output) -> Result<Exit, Failure> {
    let format = if output.format == Format::Yaml { Format::Yaml } else { Format::Json };
    Output { format, ..output }.print(selvedge_types::manifest::schema(), |_| Default::default())
}
