onmessage = () => { setTimeout(() => { throw new Error("in a timer"); }, 1); setInterval(() => {}, 5); };
