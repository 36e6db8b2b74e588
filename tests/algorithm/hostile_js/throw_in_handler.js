onmessage = () => { console.log("before"); undefined.foo; };
