//! Deletion vectors of a plan: fetched for the files that survive, their ranges coalesced.
