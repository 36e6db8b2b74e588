onmessage = () => { const all = []; const text = "[" + "{},".repeat(100000) + "1]"; for (;;) all.push(JSON.parse(text)); };
