//! What is said of runs is decided on once, in its order, whoever else decides and whatever the database does.
