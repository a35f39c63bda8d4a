//! Rebuilds when a migration is added: the compiler cannot see that `migrate!` reads the folder.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
