onmessage = async () => { throw new RangeError("rejected"); };
