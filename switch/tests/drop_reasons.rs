//! Every drop reason has its row in `docs/drop-reasons.md`, and every row a reason.

use std::fs;
use std::path::Path;

use weft_switch::path::DropReason;

fn row(reason: DropReason) -> String {
    let (name, road) = (reason.name(), reason.road().name());
    format!(
        "| `{name}` | {road} | {} | {} |",
        reason.meaning(),
        reason.advice()
    )
}

#[test]
fn the_page_lists_exactly_the_reasons() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/drop-reasons.md");
    let text = fs::read_to_string(&page).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for reason in DropReason::ALL {
        let expected = row(*reason);
        let count = rows.iter().filter(|line| **line == expected).count();
        assert_eq!(
            count, 1,
            "docs/drop-reasons.md wants this row once:\n{expected}"
        );
    }
    for line in &rows {
        let known = DropReason::ALL.iter().any(|reason| row(*reason) == **line);
        assert!(
            known,
            "docs/drop-reasons.md has a row of no reason:\n{line}"
        );
    }
}
