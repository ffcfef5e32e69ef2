"""C++ of the end of a training step: sums of gradients, Adam's step and the average of the weights, in one pass; see `kernels`.

The arithmetic is that of `nrc_tracer.nn.optimizers`, sixteen parameters at a time.
"""

ADAM = """
    const float* corrections = (const float*)update.corrections;
    const int last_correction = update.n_corrections - 1;
    // Adam's step of n parameters, n being a multiple of 16: gradients g, weights w, moments m and v, step counts t
    auto adam = [=](const auto& rule, int n, const float* g, float* w, float* m, float* v, int* t) {
        const float limit = 3.402823466e38f;
        const float gradient_limit = rule.gradient_limit != 0.0f ? rule.gradient_limit : limit;
        const float weight_limit = rule.weight_limit != 0.0f ? rule.weight_limit : limit;
        const float beta1 = rule.beta1, rest1 = 1.0f - beta1, beta2 = rule.beta2, rest2 = 1.0f - beta2;
        for (int i = 0; i < n; i += 16) {
            const Floats gradient = NRC_LOAD(g + i), before = NRC_LOAD(w + i);
            const Floats m_before = NRC_LOAD(m + i), v_before = NRC_LOAD(v + i);
            Floats a = gradient + rule.l2_reg * before;
            a = NRC_SELECT(a > gradient_limit, gradient_limit, a);
            a = NRC_SELECT(a < -gradient_limit, -gradient_limit, a);
            const Floats m_after = beta1 * m_before + rest1 * a, v_after = beta2 * v_before + rest2 * (a * a);

            // Correct the bias of the moments, and bound the rate; NaN, from 0 / 0, becomes the lower bound
            Floats correction;
            for (int j = 0; j < 16; ++j) {
                const int count = t[i + j] + 1;
                correction[j] = corrections[count < last_correction ? count : last_correction];
            }
            const Floats rate = rule.learning_rate * correction;
            Floats bounded = rate / (__builtin_elementwise_sqrt(v_after) + rule.epsilon);
            bounded = NRC_SELECT(bounded > rule.lowest_rate, bounded, rule.lowest_rate);
            bounded = NRC_SELECT(bounded < rule.highest_rate, bounded, rule.highest_rate);

            // Decay the weight and move it
            const Floats decay = rule.absolute_decay * rate;
            Floats after = (1.0f - rule.relative_decay * rate) * before - __builtin_elementwise_copysign(decay, before);
            after -= bounded * m_after;
            after = NRC_SELECT(after > weight_limit, weight_limit, after);
            after = NRC_SELECT(after < -weight_limit, -weight_limit, after);
            const auto rests = (gradient == 0.0f) & (Ints)(rule.skip_zero != 0 ? -1 : 0);
            NRC_STORE(w + i, NRC_SELECT(rests, before, after));
            NRC_STORE(m + i, NRC_SELECT(rests, m_before, m_after));
            NRC_STORE(v + i, NRC_SELECT(rests, v_before, v_after));
            for (int j = 0; j < 16; ++j) t[i + j] += rests[j] ? 0 : 1;
        }
    };
    float* weights = (float*)call.params;
    float* moments = (float*)update.moments;
    int* counts = (int*)update.counts;
    float* averages = (float*)update.averages;
    int* updated = (int*)update.updated;
"""

ADD = """
    auto add_${dims}_${features} = [](const auto& level, int interpolation, View x, int begin, int end, View d_out, int column,
                                      Table gradient, RegionRow region, unsigned long long* marks) {
        $body
    };
"""

ADD_CALL = """
    if (kind == ${dims} * 16 + ${features})
        add_${dims}_${features}(level, part.interpolation, points, 0, call.n, d_out, 0, table, region, marks);
"""

UPDATE_REGION = """
    struct RegionRow { int level; unsigned first, last; };
    $adds
    const float* x = (const float*)call.x;
    int g = 0;
    while (item >= grids.data[g].first_item + grids.data[g].n_regions) ++g;
    const auto grid = grids.data[g];
    const auto part = program.parts.data[grid.part];
    const int r = item - grid.first_item;
    const RegionRow region = ((const RegionRow*)grid.regions)[r];
    const auto level = program.levels.data[part.level + region.level];
    const int F = part.n_features, kind = part.n_dims * 16 + F;

    // Sum up the gradients
    float* gradients = (float*)step.gradient;
    const Table table = {gradients + part.first_param};
    const View points = {(char*)(x + part.input), {4ll * program.n_inputs, 4ll}};
    const View d_out = {(char*)((float*)step.d_features + (size_t)call.n * (part.d_first + region.level * F)), {4ll * F, 4ll}};
    unsigned long long* marks = (unsigned long long*)grid.marks + ((const int*)grid.first_marks)[r];
    $calls

    // Step the marked entries, in order and a few at a time, while the next ones are prefetched
    constexpr int ROOM = 64;
    int entries[2][ROOM], counted[2] = {0, 0};
    float gs[ROOM], ws[ROOM], ms[ROOM], vs[ROOM];
    int ts[ROOM];
    const int words = (region.last - region.first + 63) / 64, most = ROOM / F;
    const size_t base = (size_t)part.first_param + ((size_t)level.offset + region.first) * F;
    const float* powers = (const float*)update.powers;
    const int last_power = update.n_powers - 1;
    int word = 0;
    unsigned long long bits = words ? marks[0] : 0ull;
    for (int turn = 0, more = 1; more || counted[turn ^ 1]; turn ^= 1) {
        int n = 0;
        while (more && n < most) {
            while (!bits) {
                marks[word] = 0ull;
                if (++word >= words) {
                    more = 0;
                    break;
                }
                bits = marks[word];
            }
            if (!more) break;
            const int k = 64 * word + __builtin_ctzll(bits);
            bits &= bits - 1;
            entries[turn][n++] = k;
            const size_t i = base + (size_t)k * F;
            __builtin_prefetch(gradients + i);
            __builtin_prefetch(weights + i);
            __builtin_prefetch(moments + 2 * i);
            __builtin_prefetch(counts + i);
            if (averages) {
                __builtin_prefetch(averages + i);
                __builtin_prefetch(updated + i);
            }
        }
        counted[turn] = n;
        const int* now = entries[turn ^ 1];
        const int size = counted[turn ^ 1] * F;
        if (!size) continue;
        counted[turn ^ 1] = 0;
        for (int q = 0, c = 0; c < size; ++q) {
            const size_t i = base + (size_t)now[q] * F;
            float left = -1.0f;
            if (averages && update.ema_step > 0) {
                // Bring the average up to date, with the weights before this step
                const int done = updated[i] > update.complete ? updated[i] : update.complete;
                if (done < update.ema_step) {
                    const int passed = update.ema_step - done;
                    left = powers[2 * (passed < last_power ? passed : last_power)]
                           * powers[2 * (done < last_power ? done : last_power) + 1] / update.debias;
                }
            }
            for (int f = 0; f < F; ++f, ++c) {
                gs[c] = gradients[i + f];
                gradients[i + f] = 0.0f;
                ws[c] = weights[i + f];
                ms[c] = moments[2 * (i + f)];
                vs[c] = moments[2 * (i + f) + 1];
                ts[c] = counts[i + f];
                if (left >= 0.0f) {
                    averages[i + f] = ws[c] + (averages[i + f] - ws[c]) * left;
                    updated[i + f] = update.ema_step;
                }
            }
        }
        const int whole = (size + 15) / 16 * 16;
        for (int c = size; c < whole; ++c) gs[c] = ws[c] = ms[c] = vs[c] = 0.0f, ts[c] = 0;
        adam(update.other_rule, whole, gs, ws, ms, vs, ts);
        for (int q = 0, c = 0; c < size; ++q) {
            const size_t i = base + (size_t)now[q] * F;
            for (int f = 0; f < F; ++f, ++c) {
                weights[i + f] = ws[c];
                moments[2 * (i + f)] = ms[c];
                moments[2 * (i + f) + 1] = vs[c];
                counts[i + f] = ts[c];
            }
        }
    }
"""

UPDATE_WEIGHTS = """
    constexpr int ROOM = 256;
    float gs[ROOM], ms[ROOM], vs[ROOM];
    const float* parts = (const float*)step.d_weights;
    const int begin = item * step.slice, end = begin + step.slice < step.n_weights ? begin + step.slice : step.n_weights;
    for (int from = begin; from < end; from += ROOM) {
        const int n = end - from < ROOM ? end - from : ROOM;
        // Add the gradients of all groups, in order
        for (int i = 0; i < n; i += 16) {
            Floats sum = 0.0f;
            for (int group = 0; group < step.groups; ++group) sum += NRC_LOAD(parts + (size_t)group * step.n_weights + from + i);
            NRC_STORE(gs + i, sum);
        }
        if (update.matrices) {
            for (int i = 0; i < n; ++i) {
                ms[i] = moments[2 * (from + i)];
                vs[i] = moments[2 * (from + i) + 1];
            }
            adam(update.matrix_rule, n, gs, weights + from, ms, vs, counts + from);
            for (int i = 0; i < n; ++i) {
                moments[2 * (from + i)] = ms[i];
                moments[2 * (from + i) + 1] = vs[i];
            }
        }
        if (averages)
            for (int i = from; i < from + n; ++i) averages[i] += update.share * (weights[i] - averages[i]);
    }
"""
