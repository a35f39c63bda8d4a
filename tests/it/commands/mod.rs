//! The commands of the binary, each as a process: what they print, how they end, what they leave.

mod dev;
mod doctor;
mod queue;
mod reload;
