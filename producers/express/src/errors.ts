/** A setting that can't be: the message says which, what was expected and what came. Thrown only by constructors. */
export class Misconfigured extends Error {
  override readonly name = "Misconfigured";
}

/** An event that breaks the rules of an event; never leaves the client. */
export class InvalidEvent extends Error {
  override readonly name = "InvalidEvent";
  constructor(
    message: string,
    readonly field: string = "",
  ) {
    super(message);
  }
}
