//! Writes into a page what the test `verifier` said on some kernels: `verifier-page PAGE SAID`.

use tests::budget::Table;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let (page, said) = args.next().zip(args.next()).ok_or("which page, and what was said?")?;
    let mut table = Table::parse(&std::fs::read_to_string(&page)?)?;
    if table.take(&std::fs::read_to_string(said)?).is_empty() {
        return Err("no kernel said what its verifier did".into());
    }
    std::fs::write(&page, table.page())?;
    Ok(())
}
