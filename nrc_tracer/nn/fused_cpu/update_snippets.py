"""C++ of the end of a training step: sums of gradients, Adam's step and the average of the weights, in one pass; see `kernels`.

The arithmetic is that of `nrc_tracer.nn.optimizers`, sixteen parameters at a time. The state of each parameter is a record; see
`records`.
"""

ADAM = """
    typedef int IntsInMemory __attribute__((ext_vector_type(16), aligned(4)));
    typedef bool Bools __attribute__((ext_vector_type(16)));
    const float* corrections = (const float*)update.corrections;
    const int last_correction = update.n_corrections - 1;
    const float* powers = (const float*)update.powers;
    const int last_power = update.n_powers - 1;
    float* weights = (float*)call.params;
    float* records = (float*)update.records;

    // Read sixteen numbers from a table, and write the first n back
    auto gather = [](const float* table, Ints place) NRC_LAMBDA {
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_gathersiv16sf)
        return (Floats)__builtin_ia32_gathersiv16sf((Floats)0.0f, table, place, (unsigned short)0xffff, 4);
#else
        Floats values;
        for (int j = 0; j < 16; ++j) values[j] = table[place[j]];
        return values;
#endif
    };
    auto scatter = [](float* table, Ints place, Floats values, int n) NRC_LAMBDA {
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_scattersiv16sf)
        __builtin_ia32_scattersiv16sf(table, (unsigned short)((1u << n) - 1u), place, values, 4);
#else
        for (int j = 0; j < n; ++j) table[place[j]] = values[j];
#endif
    };
    auto at_most = [](Ints a, int limit) NRC_LAMBDA { return a < limit ? a : (Ints)limit; };

    // Adam's step of sixteen parameters: gradients g, weights w, moments m and v, step counts t
    auto adam = [=](const auto& rule, Floats g, Floats& w, Floats& m, Floats& v, Ints& t) NRC_LAMBDA {
        const float limit = 3.402823466e38f;
        const float gradient_limit = rule.gradient_limit != 0.0f ? rule.gradient_limit : limit;
        const float weight_limit = rule.weight_limit != 0.0f ? rule.weight_limit : limit;
        const float beta1 = rule.beta1, rest1 = 1.0f - beta1, beta2 = rule.beta2, rest2 = 1.0f - beta2;
        Floats a = g + rule.l2_reg * w;
        a = NRC_SELECT(a > gradient_limit, gradient_limit, a);
        a = NRC_SELECT(a < -gradient_limit, -gradient_limit, a);
        const Floats m_after = beta1 * m + rest1 * a, v_after = beta2 * v + rest2 * (a * a);

        // Correct the bias of the moments, and bound the rate; NaN, from 0 / 0, becomes the lower bound
        const Floats rate = rule.learning_rate * gather(corrections, at_most(t + 1, last_correction));
        Floats bounded = rate / (__builtin_elementwise_sqrt(v_after) + rule.epsilon);
        bounded = NRC_SELECT(bounded > rule.lowest_rate, bounded, rule.lowest_rate);
        bounded = NRC_SELECT(bounded < rule.highest_rate, bounded, rule.highest_rate);

        // Decay the weight and move it
        const Floats decay = rule.absolute_decay * rate;
        Floats after = (1.0f - rule.relative_decay * rate) * w - __builtin_elementwise_copysign(decay, w);
        after -= bounded * m_after;
        after = NRC_SELECT(after > weight_limit, weight_limit, after);
        after = NRC_SELECT(after < -weight_limit, -weight_limit, after);
        const Ints rests = (g == 0.0f) & (Ints)(rule.skip_zero != 0 ? -1 : 0);
        w = NRC_SELECT(rests, w, after);
        m = NRC_SELECT(rests, m, m_after);
        v = NRC_SELECT(rests, v, v_after);
        t += rests + 1;
    };
    // Bring the averages of sixteen weights w, up to date for the steps in `updated`, up to the last step
    auto catch_up = [=](Floats w, Floats& average, Ints& updated) NRC_LAMBDA {
        const Ints done = updated < update.complete ? (Ints)update.complete : updated, passed = update.ema_step - done;
        const Floats left = gather(powers, 2 * at_most(passed, last_power))
                            * gather(powers + 1, 2 * at_most(done, last_power)) / update.debias;
        average = NRC_SELECT(passed > 0, w + (average - w) * left, average);
        updated = passed > 0 ? (Ints)update.ema_step : updated;
    };

    // Append the numbers that are not zero, and their indices from i on, to two lists with room for sixteen more
    auto append_nonzero = [](Floats values, int i, float* list, int* indices, int& listed) NRC_LAMBDA {
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_compresssf512_mask)
        const Ints order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, at = order + i;
        const Bools is_nonzero = __builtin_convertvector(values != 0.0f, Bools);
        const unsigned short mask = __builtin_bit_cast(unsigned short, is_nonzero);
        NRC_STORE(list, (Floats)__builtin_ia32_compresssf512_mask(values, values, mask));
        const Floats compressed = __builtin_ia32_compresssf512_mask(NRC_AS_FLOATS(at), NRC_AS_FLOATS(at), mask);
        NRC_STORE((float*)indices, compressed);
        listed += __builtin_popcount(mask);
#else
        int n = 0;
        for (int j = 0; j < 16; ++j) {
            list[n] = values[j];
            indices[n] = i + j;
            n += values[j] != 0.0f;
        }
        listed += n;
#endif
    };
    // Transpose the fields of sixteen records: sizeof(fields) of them, 4 or 8. Each row holds 16 / sizeof(fields) records, whose
    // indices differ by sizeof(fields). Afterwards, row q has field q of all records in order; another call restores the rows
    auto transpose = [](auto fields, Floats* rows) NRC_LAMBDA {
        constexpr int N = sizeof(fields);
        Floats a[N], b[N];
        #pragma unroll
        for (int k = 0; k < N; k += 2) {
            const Floats p = rows[k], q = rows[k + 1];
            a[k] = __builtin_shufflevector(p, q, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
            a[k + 1] = __builtin_shufflevector(p, q, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
        }
        #pragma unroll
        for (int k = 0; k < N; ++k) {
            if (k & 2) continue;
            const Floats p = a[k], q = a[k + 2];
            b[k] = __builtin_shufflevector(p, q, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            b[k + 2] = __builtin_shufflevector(p, q, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
        #pragma unroll
        for (int k = 0; k < 4; ++k) {
            const Floats p = b[k], q = b[(k + 4) % N];
            rows[k] = N == 4 ? p : __builtin_shufflevector(p, q, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
            if (N == 8)
                rows[(k + 4) % N] =
                    __builtin_shufflevector(p, q, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        }
    };
    // Copy sixteen records, the j-th of which is at record(j), to rows that can be transposed, and back
    auto load = [](auto fields, const auto& record, Floats* rows) NRC_LAMBDA {
        constexpr int N = sizeof(fields);
        typedef float Record __attribute__((ext_vector_type(N), aligned(4)));
        #pragma unroll
        for (int k = 0; k < 16; ++k) ((Record*)(rows + k % N))[k / N] = *(const Record*)record(k);
    };
    auto store = [](auto fields, const Floats* rows, const auto& record) NRC_LAMBDA {
        constexpr int N = sizeof(fields);
        typedef float Record __attribute__((ext_vector_type(N), aligned(4)));
        #pragma unroll
        for (int k = 15; k >= 0; --k) *(Record*)record(k) = ((const Record*)(rows + k % N))[k / N];
    };
"""

ADD = """
    auto add_${dims}_${features} = [](const auto& level, int interpolation, View x, int begin, int end, View d_out, int column,
                                      float* gradient, RegionRow region, unsigned char* marks) {
        $body
    };
"""

ADD_CALL = """
    if (kind == ${dims} * 16 + ${features})
        add_${dims}_${features}(level, part.interpolation, points, 0, call.n, d_out, 0, gradient, region, marks);
"""

AWAIT_GRADIENTS = """
    // Wait until all threads have finished their groups. Return whether the loss and all gradients are finite
    NRC_AWAIT(call, 1, step.groups);
    double total = 0.0;
    for (int group = 0; group < step.groups; ++group) total += ((const double*)step.sums)[2 * group + 1];
    return total <= 3.402823466e38;
"""

UPDATE_REGION = """
    struct RegionRow { int level; unsigned first, last; };
    $adds
    int g = 0;
    while (piece >= grids.data[g].first_piece + grids.data[g].n_regions) ++g;
    const auto grid = grids.data[g];
    const auto part = program.parts.data[grid.part];
    const RegionRow region = ((const RegionRow*)grid.regions)[piece - grid.first_piece];
    const auto level = program.levels.data[part.level + region.level];
    const int F = part.n_features, kind = part.n_dims * 16 + F;

    float* gradient = (float*)step.gradient + (size_t)item * step.place;
    unsigned char* marks = (unsigned char*)step.marks + (size_t)item * (step.place / 16);

    // Sum up the gradients
    const float* planes = (const float*)step.points + (size_t)part.plane * call.n;
    const View points = {(char*)planes, {4ll, 4ll * call.n}};
    const View d_out = {(char*)((float*)step.d_features + (size_t)call.n * (part.d_first + region.level * F)), {4ll * F, 4ll}};
    $calls

    // List the parameters whose gradient is not zero, and step them in order, sixteen at a time. The next ones are prefetched
    constexpr int ROOM = 1024, AHEAD = 128;
    int indices[ROOM + 16] = {};
    float gs[ROOM + 16];
    const size_t base = (size_t)part.first_param + ((size_t)level.offset + region.first) * F;
    float* own_weights = weights + base;
    const int neighbours = F > 1 ? 2 : 1;  // of listed parameters, which share a cache line
    const int lines = ((region.last - region.first) * F + 15) / 16;
    auto advance = [&](auto fields) {
        constexpr int N = sizeof(fields);
        float* own_records = records + base * N;
        int listed = 0;
        for (int eight = 0; eight < lines || listed; eight += 8) {
            unsigned long long marked = 0;
            if (eight < lines) __builtin_memcpy(&marked, marks + eight, 8);
            if (marked) __builtin_memset(marks + eight, 0, 8);
            for (; marked; marked &= marked - 1) {
                const int i = 16 * (eight + __builtin_ctzll(marked) / 8);
                append_nonzero(NRC_LOAD(gradient + i), i, gs + listed, indices + listed, listed);
                NRC_STORE(gradient + i, (Floats)0.0f);
            }
            const bool ends = eight + 8 >= lines;
            if (listed < ROOM - 128 && !ends) continue;

            int first = 0;
            for (; listed - first >= 16 + AHEAD || (ends && first < listed); first += 16) {
                // Where less than sixteen are left, one of them takes the other places without a gradient, and is stored last
                const int n = listed - first < 16 ? listed - first : 16;
                for (int j = n; j < 16; ++j) {
                    indices[first + j] = indices[first];
                    gs[first + j] = 0.0f;
                }
                for (int j = first + AHEAD; j < first + AHEAD + 16; j += neighbours) {
                    __builtin_prefetch(own_records + (size_t)indices[j & ROOM - 1] * N);
                    __builtin_prefetch(own_weights + indices[j & ROOM - 1]);
                }
                const int* own = indices + first;
                auto record = [=](int j) NRC_LAMBDA { return own_records + (size_t)own[j] * N; };
                Floats rows[N], w;
                const Ints places = *(const IntsInMemory*)own;
                w = gather(own_weights, places);
                load(fields, record, rows);
                transpose(fields, rows);
                Ints t = __builtin_bit_cast(Ints, rows[2]), updated = __builtin_bit_cast(Ints, rows[3]);
                if (N == 8 && update.ema_step > 0) catch_up(w, rows[N / 2], updated);
                adam(update.other_rule, NRC_LOAD(gs + first), w, rows[0], rows[1], t);
                rows[2] = NRC_AS_FLOATS(t);
                rows[3] = NRC_AS_FLOATS(updated);
                transpose(fields, rows);
                store(fields, rows, record);
                scatter(own_weights, places, w, n);
            }
            listed = first < listed ? listed - first : 0;
            for (int j = 0; j < listed; ++j) {
                indices[j] = indices[first + j];
                gs[j] = gs[first + j];
            }
        }
    };
    if (update.record_size == 8)
        advance(Eight());
    else
        advance(Four());
"""

READ_AVERAGES = """
    // Copy the averages of a stretch of parameters, brought up to the last step
    const int begin = piece * stretch, end = begin + stretch < call.n ? begin + stretch : call.n;
    float* out = (float*)call.out;
    for (int i = begin; i < end; i += 16) {
        const int n = end - i < 16 ? end - i : 16;
        auto record = [=](int j) NRC_LAMBDA { return records + (size_t)(i + (j < n ? j : 0)) * 8; };
        Floats rows[8], w = 0.0f;
        load(Eight(), record, rows);
        transpose(Eight(), rows);
        if (i >= n_weights) {
            Ints updated = __builtin_bit_cast(Ints, rows[3]);
            if (n == 16)
                w = NRC_LOAD(weights + i);
            else
                for (int j = 0; j < n; ++j) w[j] = weights[i + j];
            catch_up(w, rows[4], updated);
        }
        if (n == 16)
            NRC_STORE(out + i, rows[4]);
        else
            for (int j = 0; j < n; ++j) out[i + j] = rows[4][j];
    }
"""

UPDATE_WEIGHTS = """
    const float* parts = (const float*)step.d_weights;
    const int begin = piece * step.slice, end = begin + step.slice < step.n_weights ? begin + step.slice : step.n_weights;
    auto advance = [&](auto fields) {
        constexpr int N = sizeof(fields);
        for (int i = begin; i < end; i += 16) {
            // Add the gradients of all groups, in order
            Floats sum = 0.0f;
            for (int group = 0; group < step.groups; ++group) sum += NRC_LOAD(parts + (size_t)group * step.n_weights + i);
            auto record = [=](int j) NRC_LAMBDA { return records + (size_t)(i + j) * N; };
            Floats rows[N], w = NRC_LOAD(weights + i);
            load(fields, record, rows);
            transpose(fields, rows);
            Ints t = __builtin_bit_cast(Ints, rows[2]);
            if (update.matrices) adam(update.matrix_rule, sum, w, rows[0], rows[1], t);
            rows[2] = NRC_AS_FLOATS(t);
            if (N == 8) rows[N / 2] += update.share * (w - rows[N / 2]);
            NRC_STORE(weights + i, w);
            transpose(fields, rows);
            store(fields, rows, record);
        }
    };
    if (update.record_size == 8)
        advance(Eight());
    else
        advance(Four());
"""
