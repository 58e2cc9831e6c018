import numpy as np
import pytest
import torch

from fewlabels import InputError, JointAutoencoder, TrainingWarning, TwoStepAutoencoder
from fewlabels.data import FeatureRows
from fewlabels.methods.reconstruction import Autoencoder
from fewlabels.nets import build_classifier, build_decoder
from fewlabels.training.batches import Batch
from fewlabels.views import ImageViews
from small_backbones import colors

pytestmark = pytest.mark.usefixtures("narrow_net")


def nets():
    torch.manual_seed(0)
    classifier = build_classifier("fast", (8, 8, 3), classes=3)
    return Autoencoder(classifier, build_decoder("fast", classifier.encoder, (8, 8, 3)))


def batch(progress=0.0):
    torch.manual_seed(1)
    images = torch.randint(0, 256, (8, 8, 8, 3), dtype=torch.uint8)
    views = ImageViews(torch.Generator().manual_seed(0), flip=False, shift=0, cutout=0, color=0)
    return Batch(images, torch.arange(8) % 3, None, images.flip(0), views, progress)


def test_the_reconstruction_loss_weighs_hidden_and_visible_pixels_as_asked():
    ae, inputs = nets().eval(), torch.rand(2, 3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1
    feature_map = ae.classifier.feature_map(inputs)
    error = (ae.decoder(feature_map) - inputs).square().mean(1, keepdim=True)
    for weight, expected in ((1.0, error[:, :, :4].mean()), (0.0, error[:, :, 4:].mean())):
        found = JointAutoencoder(masked_weight=weight)._reconstruction_loss(ae, feature_map, inputs, mask)
        assert torch.isclose(found, expected)
    assert torch.isclose(JointAutoencoder()._reconstruction_loss(ae, feature_map, inputs, None), error.mean())


def test_the_joint_loss_fades_the_reconstruction_and_keeps_the_labels():
    method = JointAutoencoder(reconstruction_weight=0.5, mask=0)
    ae = nets().train()
    start, end = method.loss(ae, batch(0.0)), method.loss(ae, batch(0.75))
    assert torch.isclose(end["reconstruction"], 0.25 * start["reconstruction"], rtol=1e-4)
    assert torch.isclose(end["supervised"], start["supervised"], rtol=1e-4)


def test_corrupted_images_do_not_enter_the_running_statistics():
    method, ae = JointAutoencoder(mask=0.5), nets().train()
    alone = nets().train()
    alone.load_state_dict(ae.state_dict())
    method.loss(ae, batch())
    alone.classifier(ImageViews(torch.Generator()).plain(batch().labeled))
    for a, b in zip(ae.classifier.buffers(), alone.classifier.buffers(), strict=True):
        if a.is_floating_point():
            assert torch.allclose(a, b)


def test_the_consistency_target_gets_no_gradient_and_unsure_samples_no_weight():
    ae = nets().eval()
    clean = torch.rand(4, 3, 8, 8, requires_grad=True)
    corrupted_map = torch.randn(4, *ae.classifier.encoder.map_shape, requires_grad=True)
    unsure = JointAutoencoder(threshold=0.999)._consistency_loss(ae.classifier, clean, corrupted_map)
    assert unsure["consistency"] == 0
    sure = JointAutoencoder(threshold=0.0, consistency_weight=2.0)
    loss = sure._consistency_loss(ae.classifier, clean, corrupted_map)["consistency"]
    guesses = ae.classifier(clean).argmax(1)
    by_hand = -ae.classifier.classify_map(corrupted_map).log_softmax(1)[torch.arange(4), guesses].mean()
    assert torch.isclose(loss, 2 * by_hand)
    loss.backward()
    assert clean.grad is None
    assert corrupted_map.grad.abs().sum() > 0


def test_the_pools_consistency_is_part_of_the_second_step(color_images):
    X, y = color_images
    with_it = TwoStepAutoencoder(steps=3, threshold=0.0, random_state=0).fit(X, y, unlabeled=X)
    without = TwoStepAutoencoder(steps=3, consistency_weight=0.0, random_state=0).fit(X, y, unlabeled=X)
    assert with_it.history_[-1]["consistency"] > 0
    assert "consistency" not in without.history_[-1]
    assert without.gradient_images_ < with_it.gradient_images_


def test_pretraining_lowers_the_reconstruction_error(color_images):
    X, y = color_images
    short = TwoStepAutoencoder(steps=1, pretraining_steps=1, random_state=0).fit(X, y)
    longer = TwoStepAutoencoder(steps=1, pretraining_steps=80, random_state=0).fit(X, y)
    assert longer.reconstruction_error(X) < 0.7 * short.reconstruction_error(X)
    assert longer.reconstruct(X[:3]).dtype == np.uint8
    made = longer.reconstruct(X).astype(float) / 255
    assert longer.reconstruction_error(X) == pytest.approx(((made - X / 255) ** 2).mean(), rel=0.02)


def test_a_frozen_encoder_stays_as_pretraining_left_it(color_images):
    X, y = color_images
    method = TwoStepAutoencoder(steps=5, freeze_encoder=True, random_state=0).fit(X, y)
    before, after = method.autoencoder_.classifier.encoder.state_dict(), method.network_.encoder.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    fine = TwoStepAutoencoder(steps=5, freeze_encoder=False, random_state=0).fit(X, y)
    before, after = fine.autoencoder_.classifier.encoder.state_dict(), fine.network_.encoder.state_dict()
    assert not all(torch.equal(before[key], after[key]) for key in before)


def test_the_pool_is_what_pretraining_learns_from(color_images):
    X, y = color_images
    method = TwoStepAutoencoder(steps=2, pretraining_epochs=3, batch_size=10, random_state=0)
    method.fit(X, y, unlabeled=X)
    taught = len(X) - len(method.validation_rows_)
    assert method.stage_steps_["autoencoder"] == round(3 * (taught + len(X)) / 10)


def test_of_several_stored_views_the_first_is_reconstructed():
    values = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    rows = FeatureRows(values, views=2)
    method = TwoStepAutoencoder(steps=2, pretraining_steps=2, random_state=0)
    with pytest.warns(TrainingWarning, match="net='linear' has no encoder to pretrain"):
        method.fit(rows, np.arange(20) % 2)
    assert method.reconstruct(rows).shape == (20, 3)
    assert np.allclose(method.reconstruct(rows), method.reconstruct(values[:, :3]))


def test_without_a_pool_both_passes_of_a_labeled_image_are_counted(color_images):
    method = JointAutoencoder(steps=3, batch_size=8, random_state=0).fit(*color_images)
    assert method.gradient_images_ == 3 * 8 * 2


def test_what_reconstructs_is_of_one_step_whatever_weights_predict(color_images):
    X, y = color_images
    # Labels that nothing can be learned of: no look is better than another but by chance.
    y = np.random.default_rng(5).permutation(y)
    settings = {"steps": 12, "random_state": 0, "validation_fraction": 0.4}
    last = JointAutoencoder(**settings, final_weights="last").fit(X, y)
    best = JointAutoencoder(**settings, final_weights="best-on-validation").fit(X, y)
    step = best.kept_weights_["best-on-validation"].step
    assert step < 12, "the test needs a best look that is not the last"
    assert best.reconstruction_error(X) == last.reconstruction_error(X)


def test_beside_a_teacher_there_is_no_second_average(color_images):
    X, y = color_images
    settings = {"steps": 6, "batch_size": 16, "teacher_decay": 0.9, "random_state": 0}
    alone = JointAutoencoder(**settings).fit(X, y)
    both = JointAutoencoder(ema_decay=0.1, **settings).fit(X, y)
    for name in ("last", "average"):
        states = [method.kept_weights_[name].state for method in (alone, both)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    # Who asks for an average predicts with it, and what reconstructs is of one step all the same.
    assert (alone.used_weights_, both.used_weights_) == ("last", "average")
    assert both.reconstruction_error(X) == alone.reconstruction_error(X)


@pytest.mark.parametrize(
    "settings", [{"mask": 1}, {"patch": 0}, {"sigma": -1}, {"masked_weight": 2}, {"operations": 1.5}]
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        JointAutoencoder(**settings).fit(*color_images)
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        TwoStepAutoencoder(**settings).fit(*color_images)


@pytest.mark.parametrize("kind", [TwoStepAutoencoder, JointAutoencoder])
def test_a_pretrained_net_to_train_further_is_refused_before_an_earlier_fit_is_given_up(kind, color_images):
    X, y = color_images
    method = kind(steps=1)
    before = method.fit(X, y).network_
    # The guard trains a net of its own first.
    method.set_params(net=colors(), freeze=False, guard=True)
    with pytest.raises(InputError, match=f"freeze=False has no meaning for {kind.__name__}"):
        method.fit(X, y, unlabeled=X)
    assert method.network_ is before


@pytest.mark.parametrize("method", [TwoStepAutoencoder, JointAutoencoder])
@pytest.mark.parametrize("features", [1, 2])
def test_few_features_do_not_blow_up_the_decoder(method, features):
    generator = np.random.default_rng(0)
    for seed in range(4):
        X = (10 * generator.normal(size=(30, features))).astype(np.float32)
        fitted = method(steps=60, random_state=seed).fit(X, (X[:, 0] > 0).astype(int))
        assert fitted.reconstruction_error(X) < 1


def test_hidden_features_of_vectors_are_weighted_apart_from_visible_ones():
    class Given(torch.nn.Module):
        def forward(self, found):
            return found

    class Plain:
        decoder = Given()

        class classifier:
            normalize = Given()

    clean, mask = torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])
    for weight, where, expected in ((1.0, 1 - mask, 0.0), (1.0, mask, 1.0), (0.25, 1 - mask, 0.75)):
        method = JointAutoencoder(masked_weight=weight)
        assert method._reconstruction_loss(Plain, where, clean, mask).item() == pytest.approx(expected)
