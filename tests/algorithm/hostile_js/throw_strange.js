onmessage = () => { throw { toString() { for (;;) throw 1; }, get stack() { throw 2; } }; };
