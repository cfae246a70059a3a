/** Signals by number (signal(7)), as kill(2) and the task API have them. */
export const SIGKILL = 9;
